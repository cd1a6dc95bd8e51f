"""The verbs by name. Written by build/generate_docs.py from the modules of this package: do not edit."""

MODULES = {
    "commit": "commit",
    "copy": "copy",
    "exec": "exec",
    "export": "export",
    "import": "import_image",
    "index": "index",
    "inspect": "inspect",
    "load": "load",
    "login": "login",
    "logout": "logout",
    "prune": "prune",
    "pull": "pull",
    "push": "push",
    "reindex": "reindex",
    "rename": "rename",
    "rm": "rm",
    "save": "save",
    "tag": "tag",
    "untag": "untag",
    "verify": "verify",
}
"""The module of each verb."""
REMOVING = frozenset({"prune", "rm", "untag"})
"""The verbs that delete names or images."""
