"""The keys of the configuration file. The reader, `help` and the reference page are made from these declarations."""

from __future__ import annotations

from enum import Enum

from imq.engine.catalog.settings import SETTINGS
from imq.grammar.record import Record


class ValueType(Enum):
    """The type of a value, with its name in errors and help."""

    STRING = "a string"
    PATH = "a path"
    BOOLEAN = "true or false"
    INTEGER = "an integer"
    DURATION = 'seconds, or a string: "2m"'
    SIZE = 'bytes, or a string: "100kB"'
    PREFIX = "HOST[:PORT][/NAMESPACE]"
    PREFIXES = "a list of HOST[:PORT][/NAMESPACE]"
    HOSTS = "a list of hosts or address ranges"
    SETTING = "a value of `set`"
    QUERY = "a query, as a string"
    SOURCES = "a list of sources"


class Key(Record):
    """One key. `minimum` is its smallest number; `client_field` is its field in the registry client's `Settings`."""

    name: str
    type: ValueType
    doc: str
    default: str = ""
    minimum: int = 0
    client_field: str = ""


class Section(Record):
    """A table of the file.

    `has_named_tables`: the user names its tables (`[registry.work]`). `has_free_keys`: the user names its keys, which
    all have the type of the one key that is declared.
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
            "Keys at the top of the file, before the first `[table]`.",
            'source = "work"',
            (
                Key(
                    "source",
                    ValueType.STRING,
                    "the default source, as in `use SOURCE`",
                    "store",
                ),
                Key("root", ValueType.PATH, "the folder of the store", "the user's data folder"),
                Key(
                    "insecure",
                    ValueType.HOSTS,
                    "hosts that may be reached by plain HTTP, or by TLS without verification",
                ),
                Key("ca", ValueType.PATH, "a file of CA certificates, which replaces the built-in ones"),
            ),
        ),
        Section(
            "registry",
            "A registry with a short name, or, where NAME is a host, the settings of that host.",
            '[registry.work]\nhost = "registry.local:5000/team"\n\n'
            '[registry."docker.io"]\nmirrors = ["mirror.local:5000", "registry.local:5000/hub"]',
            (
                Key("host", ValueType.PREFIX, "the host, with an optional namespace", "NAME"),
                Key(
                    "mirrors",
                    ValueType.PREFIXES,
                    "mirrors that pulls and copies try before the registry, in this order",
                ),
                Key("insecure", ValueType.BOOLEAN, "allow plain HTTP, and TLS without verification", "false"),
                Key("ca", ValueType.PATH, "a file of further CA certificates for this host"),
                Key("certificate", ValueType.PATH, "the client certificate"),
                Key("key", ValueType.PATH, "the private key of the client certificate"),
                Key("user", ValueType.STRING, "the user name; `<token>` for an identity token"),
                Key("password-file", ValueType.PATH, "a file that contains only the password"),
                Key("password-variable", ValueType.STRING, "an environment variable that holds the password"),
                Key(
                    "credentials-helper",
                    ValueType.STRING,
                    "the credential helper: NAME of docker-credential-NAME",
                ),
                Key("credentials-file", ValueType.PATH, "a config.json of docker, instead of the default one"),
            ),
            has_named_tables=True,
        ),
        Section(
            "group",
            "Several sources with one name. `in NAME` asks all of them side by side.",
            '[group.prod]\nsources = ["ssh://host-a", "ssh://host-b", "docker:staging"]',
            (Key("sources", ValueType.SOURCES, "the sources of the group"),),
            has_named_tables=True,
        ),
        Section(
            "shared",
            "A folder that workers on other machines read elsewhere: the layers of layouts and stores below it are at"
            " the URL, too.",
            '[shared.images]\nfolder = "/mnt/images"\nurl = "s3://images"',
            (
                Key("folder", ValueType.PATH, "the folder on this machine"),
                Key("url", ValueType.STRING, "where fsspec reads the same files: file://, s3:// …"),
            ),
            has_named_tables=True,
        ),
        Section(
            "limits",
            "Timeouts and other limits of the registry client.",
            '[limits]\nread-timeout = "2m"\nretries = 8',
            (
                Key(
                    "connect-timeout", ValueType.DURATION, "timeout of a connection attempt", "10", 1, "connect_timeout"
                ),
                Key(
                    "read-timeout",
                    ValueType.DURATION,
                    "timeout between two reads of a response",
                    "60",
                    1,
                    "read_timeout",
                ),
                Key(
                    "answer-timeout",
                    ValueType.DURATION,
                    "timeout of a whole response, except blobs",
                    "300",
                    1,
                    "answer_timeout",
                ),
                Key(
                    "least-speed",
                    ValueType.SIZE,
                    "minimum speed in bytes a second; a slower transfer is aborted",
                    "1kB",
                    0,
                    "least_speed",
                ),
                Key(
                    "speed-window",
                    ValueType.DURATION,
                    "period over which the speed is measured",
                    "30",
                    1,
                    "speed_window",
                ),
                Key("helper-timeout", ValueType.DURATION, "timeout of a credential helper", "60", 1, "helper_timeout"),
                Key(
                    "requests",
                    ValueType.INTEGER,
                    "concurrent requests to one registry, without transfers",
                    "24",
                    1,
                    "requests",
                ),
                Key("retries", ValueType.INTEGER, "retries of a failed request", "4", 0, "retries"),
                Key(
                    "list-pages",
                    ValueType.INTEGER,
                    "maximum pages of one list, such as a tag list",
                    "10000",
                    1,
                    "list_pages",
                ),
                Key(
                    "longest-wait",
                    ValueType.DURATION,
                    "longest wait that a registry may ask for before a retry",
                    "30",
                    0,
                    "longest_wait",
                ),
            ),
        ),
        Section(
            "settings",
            "Initial values of the settings. `set` and `--set` override them.",
            '[settings]\nverify = "lazy"\njobs = 8',
            tuple(Key(one.name, ValueType.SETTING, one.doc, one.default) for one in SETTINGS.values()),
        ),
        Section(
            "views",
            "Views, as `view NAME as QUERY` makes them.",
            '[views]\nstale = "images where older than 90d and not in use"',
            (Key("NAME", ValueType.QUERY, "the query of the view"),),
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
"""Keys that users may try to set. The file never holds secrets, it only refers to them."""
