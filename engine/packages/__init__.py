"""Installed packages: their databases and manifests in layers, their versions, and bills of materials.

Everything here is a pure function of bytes. `database_files.find_reader` selects the files of a layer that hold package
information, and each `Reader` turns one file into the rows of `package.py`.
"""
