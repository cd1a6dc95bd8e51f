"""The one writer of SQL."""
