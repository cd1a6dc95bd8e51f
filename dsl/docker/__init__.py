"""Docker's own command lines: recognised, compiled to statements of the language, answered in docker's text.

    arguments ─recognition→ command and what it was given ─compile→ statements ─session→ results ─answer→ docker's text

`commands` declares every command and its flags, once; `listing`, `removal`, `moving` and `looking` compile and answer.
"""
