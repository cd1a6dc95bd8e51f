"""Go's text/template with the functions of `docker --format`."""
