"""The image specification's values: digests, references, platforms, media types and documents.

They know nothing of stores, registries or queries, and are valid once they exist.
"""
