"""A PostgreSQL server of Debian for tests, with its own data folder, socket and port."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tempfile

import pytest
from support.servers import find_free_port, require_programs

PASSWORD = "correct-horse"
"""The password of the user `imq`, who connects over TCP."""
_OPTIONS = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "listen_addresses=127.0.0.1", "timezone=UTC")


class PostgresqlServer:
    """A running server. Its administrator connects over the socket without a password."""

    def __init__(self) -> None:
        require_programs("pg_ctlcluster")
        folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))
        if not folders:
            pytest.skip("not installed: the server of PostgreSQL")
        self._programs = folders[-1]
        self._user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self.folder = tempfile.mkdtemp(prefix="pg")  # a short path: the path of a socket has at most 107 bytes
        os.chmod(self.folder, 0o755)
        if self._user:
            shutil.chown(self.folder, "postgres")
        self.port = find_free_port()
        self._databases = 0
        try:
            trust = ("--auth-local=trust", "--auth-host=scram-sha-256", "--username=postgres")
            self._run("initdb", "-D", f"{self.folder}/data", "--no-sync", "--encoding=UTF8", "--locale=C", *trust)
            options = " ".join(f"-c {option}" for option in (*_OPTIONS, f"port={self.port}"))
            options += f" -c unix_socket_directories={self.folder}"
            self._run("pg_ctl", "-D", f"{self.folder}/data", "-l", f"{self.folder}/log", "-w", "-o", options, "start")
            self.execute(f"CREATE USER imq PASSWORD '{PASSWORD}'")
        except BaseException:
            self.stop()
            raise

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._user, f"{self._programs}/{program}", *arguments]
        done = subprocess.run(command, capture_output=True, check=False, cwd="/", text=True)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr}")

    def stop(self) -> None:
        """Stop the server and remove its folder."""
        subprocess.run(
            [*self._user, f"{self._programs}/pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "stop"],
            capture_output=True,
            check=False,
            cwd="/",
        )
        shutil.rmtree(self.folder, ignore_errors=True)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run a statement as the administrator and return its rows."""
        import psycopg

        url = f"postgresql://postgres@/{database}?host={self.folder}&port={self.port}"
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description is not None else []

    def create_database(self) -> str:
        """Create an empty database of the user `imq` and return its name."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.execute(f"CREATE DATABASE {name} OWNER imq TEMPLATE template0")
        return name

    def url(self, database: str, *, user: str = "postgres") -> str:
        """Return the URL of a database over the socket."""
        return f"postgresql://{user}@/{database}?host={self.folder}&port={self.port}"

    def tcp_url(self, database: str, password: str = PASSWORD) -> str:
        """Return the URL of a database over TCP, for the user `imq`."""
        return f"postgresql://imq:{password}@127.0.0.1:{self.port}/{database}"
