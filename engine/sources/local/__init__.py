"""Tables of this machine: files, standard input, settings of the session."""
