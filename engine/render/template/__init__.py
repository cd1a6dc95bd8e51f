"""Go's text/template, as `docker --format` has it."""
