"""Docker's command lines: detected, compiled to statements of the language, and run with docker's output.

    arguments ─detect→ command and flags ─compile→ statements ─session→ results ─run→ docker's output

`commands` declares every command with its flags and its handler. The other modules have the handlers.
"""
