"""Registries as a source of rows: what they list, and what is fetched of it when a question needs it."""
