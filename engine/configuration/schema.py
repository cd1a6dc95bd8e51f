"""Every key of the configuration file, declared once: reading it, help and the reference page follow from this."""

from __future__ import annotations

from enum import Enum

from imq.engine.catalog.settings import SETTINGS
from imq.grammar.record import Record


class ValueType(Enum):
    """What a key may be, in the words that errors and help use."""

    STRING = "a text"
    PATH = "a path"
    BOOLEAN = "true or false"
    INTEGER = "a whole number"
    DURATION = 'seconds, or a text such as "2m"'
    SIZE = 'bytes, or a text such as "100kB"'
    PREFIX = "HOST[:PORT][/NAMESPACE]"
    PREFIXES = "a list of HOST[:PORT][/NAMESPACE]"
    HOSTS = "a list of hosts or of address ranges"
    SETTING = "what `set` takes"
    QUERY = "a query, as a text"


class Key(Record):
    """One key. `least` is the smallest number it may be, `field` what the registry client calls it."""

    name: str
    type: ValueType
    doc: str
    default: str = ""
    minimum: int = 0
    client_field: str = ""


class Section(Record):
    """A table of the file. `named`: it holds tables, each under a name of the user's (`[registry.work]`).

    `free`: its keys are names of the user's too, and all of the kind of the one declared.
    """

    name: str
    doc: str
    example: str
    keys: tuple[Key, ...]
    has_named_tables: bool = False
    has_free_keys: bool = False

    def find_key(self, name: str) -> Key | None:
        """Return the key of this name."""
        if self.has_free_keys:
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
                Key(
                    "source",
                    ValueType.STRING,
                    "where questions are asked that name no place, as `use` says it",
                    "store",
                ),
                Key("root", ValueType.PATH, "the folder of the store", "the user's data folder"),
                Key("insecure", ValueType.HOSTS, "hosts that may be spoken to without verified TLS, or by plain http"),
                Key("ca", ValueType.PATH, "a file of authorities that are trusted in place of the built-in ones"),
            ),
        ),
        Section(
            "registry",
            "A registry under a name of its own, or (a name that is a host) what is set for that host.",
            '[registry.work]\nhost = "registry.local:5000/team"\n\n'
            '[registry."docker.io"]\nmirrors = ["mirror.local:5000", "registry.local:5000/hub"]',
            (
                Key("host", ValueType.PREFIX, "where it is", "its name"),
                Key(
                    "mirrors",
                    ValueType.PREFIXES,
                    "where pulls and copies look before they ask the registry itself, in this order",
                ),
                Key(
                    "insecure", ValueType.BOOLEAN, "it may be spoken to without verified TLS, or by plain http", "false"
                ),
                Key("ca", ValueType.PATH, "a file of authorities that are trusted for this host too"),
                Key("certificate", ValueType.PATH, "a client's certificate, shown when the host asks for one"),
                Key("key", ValueType.PATH, "the key of that certificate"),
                Key("user", ValueType.STRING, "the user that the password is of; `<token>` for an identity token"),
                Key("password-file", ValueType.PATH, "a file that holds the password and nothing else"),
                Key("password-variable", ValueType.STRING, "a variable of the environment that holds the password"),
                Key(
                    "credentials-helper",
                    ValueType.STRING,
                    "the credential helper to ask: NAME of docker-credential-NAME",
                ),
                Key("credentials-file", ValueType.PATH, "a config.json as docker writes it, in place of the usual one"),
            ),
            has_named_tables=True,
        ),
        Section(
            "limits",
            "How long is waited, and for how much.",
            '[limits]\nread-timeout = "2m"\nretries = 8',
            (
                Key("connect-timeout", ValueType.DURATION, "for a connection", "10", 1, "connect_timeout"),
                Key(
                    "read-timeout", ValueType.DURATION, "for an answer to begin, then to go on", "60", 1, "read_timeout"
                ),
                Key(
                    "answer-timeout", ValueType.DURATION, "for all of an answer but a blob", "300", 1, "answer_timeout"
                ),
                Key("least-speed", ValueType.SIZE, "a second: less ends a connection", "1kB", 0, "least_speed"),
                Key("speed-window", ValueType.DURATION, "over which that speed is taken", "30", 1, "speed_window"),
                Key("helper-timeout", ValueType.DURATION, "for a credential helper", "60", 1, "helper_timeout"),
                Key(
                    "requests",
                    ValueType.INTEGER,
                    "questions at once to one registry, beside transfers",
                    "24",
                    1,
                    "requests",
                ),
                Key("retries", ValueType.INTEGER, "attempts after the first", "4", 0, "retries"),
                Key("list-pages", ValueType.INTEGER, "pages of one list, as of tags", "10000", 1, "list_pages"),
                Key(
                    "longest-wait",
                    ValueType.DURATION,
                    "between attempts, if a registry asks so",
                    "30",
                    0,
                    "longest_wait",
                ),
            ),
        ),
        Section(
            "settings",
            "What sessions begin with; `set` and `--set` change it.",
            '[settings]\nverify = "lazy"\njobs = 8',
            tuple(Key(one.name, ValueType.SETTING, one.doc, one.default) for one in SETTINGS.values()),
        ),
        Section(
            "views",
            "Queries that can be asked like tables, as `view NAME as QUERY` makes them.",
            '[views]\nstale = "images where older than 90d and not in use"',
            (Key("NAME", ValueType.QUERY, "what the name stands for"),),
            has_free_keys=True,
        ),
    )
}

SECRET_KEYS = (
    "password",
    "token",
    "secret",
    "auth",
    "identitytoken",
    "identity-token",
    "api-key",
    "apikey",
    "passphrase",
)
"""What somebody may want to write into the file and must not: secrets are only referred to."""
