"""Reads layers in other processes: of this machine, or of a Dask cluster."""
