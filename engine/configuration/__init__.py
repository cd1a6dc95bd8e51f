"""The configuration files: their keys, declared once, and their reader."""
