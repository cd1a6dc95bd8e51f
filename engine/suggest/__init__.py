"""Suggestions for statements that are wrong."""
