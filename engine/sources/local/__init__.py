"""Tables of the local machine: files, standard input, sources and disk usage."""
