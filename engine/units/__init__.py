"""Parsing and formatting of sizes, durations, times and paths."""
