"""Places on disk as a source: image layouts, archives, and the storage of other engines, read where they lie."""
