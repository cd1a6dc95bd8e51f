"""Tables, fields, functions, predicates, clauses and settings, each declared once."""
