"""The language: its grammar, syntax tree, diagnostics and printer. It knows no field, table or verb by name."""
