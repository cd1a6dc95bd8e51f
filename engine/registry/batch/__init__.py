"""Many small requests at a time."""
