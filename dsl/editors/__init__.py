"""The language in editors and on pages: token patterns, a lexer for Pygments."""
