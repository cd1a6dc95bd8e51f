"""The order of versions by the rules of each package system, as keys that SQLite can index and compare.

Own code, because libraries compare pairs in Python, and a query needs the order in SQL. `packaging` knows the rules of
Python alone. `univers` 32.0.1 knows those of all systems; it rejects valid versions of Debian and Alpine.
The tests compare the keys with dpkg, rpm, RubyGems, node-semver, Go and `packaging`.
"""
