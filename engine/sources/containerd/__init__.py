"""containerd as a source: its namespaces, which hold images, containers and their content."""
