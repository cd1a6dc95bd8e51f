"""The embedded store as a source."""
