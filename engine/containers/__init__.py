"""Containers of the store: their folders, bundles, monitor processes, logs and changes."""
