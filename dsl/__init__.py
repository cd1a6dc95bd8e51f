"""imq: ask questions of container images, and act on the answers."""
