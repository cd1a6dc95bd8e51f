"""Syntax highlighting for editors and web pages: token patterns, a lexer for Pygments."""
