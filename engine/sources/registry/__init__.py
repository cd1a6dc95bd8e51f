"""Registries as a source of rows: listed rows, and fields that are fetched when a query needs them."""
