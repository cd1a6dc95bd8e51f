"""The client of containerd: its gRPC API over a unix socket, and the program `ctr` for what only clients do."""
