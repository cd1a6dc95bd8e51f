"""A client for the Docker Engine API, which dockerd and `podman system service` serve.

It knows endpoints, connections, versions and errors, and no table. Answers of engines are untrusted and always checked.
"""
