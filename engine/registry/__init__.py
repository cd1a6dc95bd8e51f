"""The registry client: the distribution API, spoken to servers nobody here controls."""
