"""The values of the OCI image specification: digests, references, platforms, media types and documents.

They are validated when they are created, and do not depend on stores, registries or queries.
"""
