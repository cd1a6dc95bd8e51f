"""Writes typed queries as SQL."""
