"""Docker, Podman and every engine that speaks the Docker Engine API, as a source of images and containers."""
