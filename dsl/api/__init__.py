"""The Python API: objects over syntax trees, and connections that run them.

    literals      Python values as literals
    expressions   fields, conditions, arithmetic: `f.size > 1 * GB`
    queries       tables and their clauses: `images.where(…).order_by(…)`
    statements    verbs, scripts, settings: `imq.rm(…)`, `imq.let(…)`
    namespace     the names of the package `imq`, from the engine's declarations
    connection    `imq.connect()`, which runs statements
    results       rows with attributes

The package `imq` resolves `imq.images`, `imq.connect` and other names here.
"""
