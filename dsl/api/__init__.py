"""The Python form of the language: objects over the nodes that the text parser makes, and connections that run them.

    literals      Python's values as the literals of the language
    expressions   fields, conditions, arithmetic: `f.size > 1 * GB`
    queries       tables and their clauses: `images.where(…).order_by(…)`
    statements    verbs, scripts, settings: `imq.rm(…)`, `imq.let(…)`
    names         what `imq.NAME` is, found in the engine's declarations
    connection    `imq.connect()`: statements in, results out
    results       what comes back: rows with attributes

What users write, `imq.images`, `imq.connect`, is found here by the package `imq` itself.
"""
