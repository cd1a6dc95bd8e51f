"""Formats results: output formats, Go templates, docker's tables."""
