"""Many small requests at once."""
