"""The verbs by name. Written by build/generate_docs.py from the modules of this package: do not edit."""

MODULES = {
    "append": "append",
    "change": "change",
    "commit": "commit",
    "copy": "copy",
    "create": "create",
    "exec": "exec",
    "export": "export",
    "flatten": "flatten",
    "import": "import_image",
    "index": "index",
    "inspect": "inspect",
    "kill": "kill",
    "load": "load",
    "login": "login",
    "logout": "logout",
    "pause": "pause",
    "prune": "prune",
    "pull": "pull",
    "push": "push",
    "reindex": "reindex",
    "rename": "rename",
    "restart": "restart",
    "rm": "rm",
    "run": "run",
    "save": "save",
    "start": "start",
    "stop": "stop",
    "tag": "tag",
    "unpause": "unpause",
    "untag": "untag",
    "verify": "verify",
    "wait": "wait",
}
"""The module of each verb."""
REMOVING = frozenset({"prune", "rm", "untag"})
"""The verbs that delete names or images."""
