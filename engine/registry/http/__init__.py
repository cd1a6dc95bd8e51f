"""HTTP for registries: connections, retries, rate limits, pagination."""
