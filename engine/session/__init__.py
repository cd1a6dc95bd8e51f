"""Sessions: statements in, results out."""
