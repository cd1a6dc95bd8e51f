"""Pull, push and copy: blobs between registries and the store."""
