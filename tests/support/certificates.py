"""Certificates made by openssl: an authority, a server at the loopback, and a client."""

from __future__ import annotations

import os
import subprocess

_REQUEST = ("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """A certificate authority whose files are in a folder; `certificate` is its own."""

    def __init__(self, folder: str | os.PathLike[str], name: str = "tests authority") -> None:
        self.folder = os.fspath(folder)
        self.certificate = os.path.join(self.folder, "ca.pem")
        self._key = os.path.join(self.folder, "ca-key.pem")
        _run(*_REQUEST, "-x509", "-days", "2", "-subj", f"/CN={name}", "-keyout", self._key, "-out", self.certificate)

    def sign(self, folder: str | os.PathLike[str], purpose: str, names: str = "IP:127.0.0.1,DNS:localhost") -> str:
        """Write `ca.pem`, `cert.pem` and `key.pem` into a new folder, as docker names them, and return the folder.

        `purpose` is `serverAuth` or `clientAuth`. `names` are the subject alternative names.
        """
        folder = os.fspath(folder)
        os.mkdir(folder)
        request, extensions = os.path.join(folder, "request.csr"), os.path.join(folder, "extensions")
        with open(extensions, "w") as file:
            file.write(f"subjectAltName={names}\nextendedKeyUsage={purpose}\n")
        certificate, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
        _run(*_REQUEST, "-subj", f"/CN={purpose}", "-keyout", key, "-out", request)
        signer = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-days", "2")
        _run("openssl", "x509", "-req", "-in", request, *signer, "-extfile", extensions, "-out", certificate)
        os.link(self.certificate, os.path.join(folder, "ca.pem"))
        return folder


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
