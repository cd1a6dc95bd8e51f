"""The layered, content-addressed image store: an OCI image layout on disk and the SQLite index derived from it."""
