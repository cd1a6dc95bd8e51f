"""Every key of the configuration file, declared once: reading it, help and the reference page follow from this."""

from __future__ import annotations

from enum import Enum

from imq.engine.catalog.settings import SETTINGS
from imq.grammar.record import Record


class Kind(Enum):
    """What a key may be, in the words that errors and help use."""

    TEXT = "a text"
    PATH = "a path"
    SWITCH = "true or false"
    COUNT = "a whole number"
    SECONDS = 'seconds, or a text such as "2m"'
    SIZE = 'bytes, or a text such as "100kB"'
    PLACE = "HOST[:PORT][/NAMESPACE]"
    PLACES = "a list of HOST[:PORT][/NAMESPACE]"
    HOSTS = "a list of hosts or of address ranges"
    SETTING = "what `set` takes"
    QUERY = "a query, as a text"


class Key(Record):
    """One key. `least` is the smallest number it may be, `field` what the registry client calls it."""

    name: str
    kind: Kind
    doc: str
    default: str = ""
    least: int = 0
    field: str = ""


class Section(Record):
    """A table of the file. `named`: it holds tables, each under a name of the user's (`[registry.work]`).

    `free`: its keys are names of the user's too, and all of the kind of the one declared.
    """

    name: str
    doc: str
    example: str
    keys: tuple[Key, ...]
    named: bool = False
    free: bool = False

    def key(self, name: str) -> Key | None:
        """Return the key of this name."""
        if self.free:
            return self.keys[0]
        return next((key for key in self.keys if key.name == name), None)


SECTIONS: dict[str, Section] = {
    section.name: section
    for section in (
        Section(
            "",
            "At the top of the file, before the first `[table]`.",
            'source = "work"',
            (
                Key("source", Kind.TEXT, "where questions are asked that name no place, as `use` says it", "store"),
                Key("root", Kind.PATH, "the folder of the store", "the user's data folder"),
                Key("insecure", Kind.HOSTS, "hosts that may be spoken to without verified TLS, or by plain http"),
                Key("ca", Kind.PATH, "a file of authorities that are trusted in place of the built-in ones"),
            ),
        ),
        Section(
            "registry",
            "A registry under a name of its own, or (a name that is a host) what is set for that host.",
            '[registry.work]\nhost = "registry.local:5000/team"\n\n'
            '[registry."docker.io"]\nmirrors = ["mirror.local:5000", "registry.local:5000/hub"]',
            (
                Key("host", Kind.PLACE, "where it is", "its name"),
                Key(
                    "mirrors",
                    Kind.PLACES,
                    "where pulls and copies look before they ask the registry itself, in this order",
                ),
                Key("insecure", Kind.SWITCH, "it may be spoken to without verified TLS, or by plain http", "false"),
                Key("ca", Kind.PATH, "a file of authorities that are trusted for this host too"),
                Key("certificate", Kind.PATH, "a client's certificate, shown when the host asks for one"),
                Key("key", Kind.PATH, "the key of that certificate"),
                Key("user", Kind.TEXT, "the user that the password is of; `<token>` for an identity token"),
                Key("password-file", Kind.PATH, "a file that holds the password and nothing else"),
                Key("password-variable", Kind.TEXT, "a variable of the environment that holds the password"),
                Key("credentials-helper", Kind.TEXT, "the credential helper to ask: NAME of docker-credential-NAME"),
                Key("credentials-file", Kind.PATH, "a config.json as docker writes it, in place of the usual one"),
            ),
            named=True,
        ),
        Section(
            "limits",
            "How long is waited, and for how much.",
            '[limits]\nread-timeout = "2m"\nretries = 8',
            (
                Key("connect-timeout", Kind.SECONDS, "for a connection", "10", 1, "connect_timeout"),
                Key("read-timeout", Kind.SECONDS, "for an answer to begin, then to go on", "60", 1, "read_timeout"),
                Key("answer-timeout", Kind.SECONDS, "for all of an answer but a blob", "300", 1, "answer_timeout"),
                Key("least-speed", Kind.SIZE, "a second: less ends a connection", "1kB", 0, "least_speed"),
                Key("speed-window", Kind.SECONDS, "over which that speed is taken", "30", 1, "speed_window"),
                Key("helper-timeout", Kind.SECONDS, "for a credential helper", "60", 1, "helper_timeout"),
                Key("requests", Kind.COUNT, "questions at once to one registry, beside transfers", "24", 1, "requests"),
                Key("retries", Kind.COUNT, "attempts after the first", "4", 0, "retries"),
                Key("list-pages", Kind.COUNT, "pages of one list, as of tags", "10000", 1, "list_pages"),
                Key("longest-wait", Kind.SECONDS, "between attempts, if a registry asks so", "30", 0, "longest_wait"),
            ),
        ),
        Section(
            "settings",
            "What sessions begin with; `set` and `--set` change it.",
            '[settings]\nverify = "lazy"\njobs = 8',
            tuple(Key(one.name, Kind.SETTING, one.doc, one.default) for one in SETTINGS.values()),
        ),
        Section(
            "views",
            "Queries that can be asked like tables, as `view NAME as QUERY` makes them.",
            '[views]\nstale = "images where older than 90d and not in use"',
            (Key("NAME", Kind.QUERY, "what the name stands for"),),
            free=True,
        ),
    )
}  # fmt: skip

SECRETS = ("password", "token", "secret", "auth", "identitytoken", "identity-token", "api-key", "apikey", "passphrase")
"""What somebody may want to write into the file and must not: secrets are only referred to."""
