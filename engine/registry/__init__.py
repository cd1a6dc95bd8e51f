"""A client for the OCI distribution API. Input from servers is untrusted and always checked."""
