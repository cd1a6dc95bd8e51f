"""Sizes, durations and times, and paths as text."""
