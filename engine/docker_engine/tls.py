"""TLS to an engine: which certificates are used."""

from __future__ import annotations

import os

from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    import ssl


class Tls(Record):
    """Paths of certificates in PEM form.

    `ca` is the authority of the engine; None means those of the system. `cert` and `key` are the client's own.
    Without `verify` any engine is accepted.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    verify: bool = True

    @classmethod
    def of_folder(cls, folder: str, *, verify: bool) -> Tls:
        """Return the files `ca.pem`, `cert.pem` and `key.pem` of a folder, as far as they exist."""
        paths = (os.path.join(folder, f"{name}.pem") for name in ("ca", "cert", "key"))
        ca, cert, key = (path if os.path.exists(path) else None for path in paths)
        return cls(ca, cert, key, verify)

    def make_context(self) -> ssl.SSLContext:
        """Return a TLS context with these certificates. Raises `OSError` for files that are invalid or unreadable."""
        import ssl

        context = ssl.create_default_context(cafile=self.ca if self.verify else None)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert and self.key:
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        return context


def _no_password() -> str:
    """Return no password for an encrypted key; OpenSSL would prompt for it on the terminal."""
    return ""
