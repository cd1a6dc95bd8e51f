"""The index of files: what each layer contains, and what a stack of layers shows."""
