"""The contents of images, for every source: files and packages, from the index of files."""

CONTENT_TABLES = ("files", "all_files", "archive_files", "packages", "os_releases", "differences", "waste", "texts")
"""The tables that a source serves when it can read the layers of its images."""
