"""The embedded PostgreSQL: TCP on loopback only, SCRAM passwords, every statement of agents in its log.

- ``log_statement=all`` with the user's name in each line: the server's own log shows what a minted user
  did. Bind values are left out. Nothing of the manager (who sets minted users' passwords) and of the
  superuser (who sets the manager's) is logged.
- The manager ``bao_min`` is no superuser: it may make roles and give them ``app_ro`` or ``app_rw``.
- The superuser's password and the manager's first one are in ``keys/``, mode 0600.
- A data folder whose making did not reach its end is wiped and made again.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from remit.embedded import flights
from remit.embedded.account import RunAs, run_as
from remit.embedded.ports import HOST, Ports
from remit.embedded.process import Command, environment
from remit.embedded.programs import postgres_programs
from remit.embedded.roles import statements
from remit.embedded.state import StateFolder
from remit.errors import RemitError

NAME = "postgres"
DATABASE = "flights"
SUPERUSER = "postgres"
MANAGER = "bao_min"
_SUPERUSER_PASSWORD = "keys/postgres.password"  # noqa: S105
_MANAGER_PASSWORD = "keys/postgres-manager.password"  # noqa: S105
_UNLOGGED = {"log_statement": "none", "log_min_error_statement": "panic"}

_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "500",  # two hundred tasks at once, a session each, and those who look on
    "wal_level": "minimal",  # loads a new table without writing it twice; there are no replicas
    "max_wal_senders": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
    "log_statement": "all",
    "log_parameter_max_length": "0",
    "log_checkpoints": "off",
    "log_connections": "authorization",
}


@dataclass(frozen=True, slots=True)
class Postgres:
    """The server of one state folder."""

    state: StateFolder
    ports: Ports

    @property
    def name(self) -> str:
        """Return the name of record, folder and log."""
        return NAME

    @property
    def dsn(self) -> str:
        """Return the connection string of the database, without user and password."""
        return f"host={HOST} port={self.ports.postgres} dbname={DATABASE}"

    @property
    def log(self) -> Path:
        """Return the server's own log."""
        return self.state.path / "logs" / f"{NAME}.log"

    @property
    def superuser_password(self) -> str:
        """Return the password of ``postgres``."""
        return self._password(_SUPERUSER_PASSWORD)

    @property
    def manager_password(self) -> str:
        """Return the password the manager ``bao_min`` was made with."""
        return self._password(_MANAGER_PASSWORD)

    def prepare(self) -> Command:
        """Make the data folder when there is none and return what to run."""
        programs = postgres_programs()
        how = run_as(programs)
        data = self.state.path / NAME / "data"
        _end_leftovers(data)
        if not self.state.completed(NAME):
            self._make(programs, how, data)
        (data / "postmaster.pid").unlink(missing_ok=True)  # nothing runs on it: see above
        argv = [*how.prefix, str(programs / "postgres"), "-D", how.data(data)]
        for key, value in {**_SETTINGS, "port": str(self.ports.postgres)}.items():
            argv += ["-c", f"{key}={value}"]
        # SIGINT is its fast shutdown; SIGTERM would wait for clients to leave.
        return Command(NAME, "PostgreSQL", tuple(argv), data, how.account, stop_signal=signal.SIGINT)

    def ready(self) -> bool:
        """Tell whether the superuser can log in."""
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def finish(self) -> None:
        """Make database, roles and tables as far as they are missing."""
        with self.connect("postgres", autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        with self.connect() as connection:
            flights.load(connection)
        with self.connect(autocommit=True) as connection:
            password = self.manager_password
            for statement in statements(database=DATABASE, manager=MANAGER, manager_password=password):
                connection.execute(statement)
            for key, value in _UNLOGGED.items():
                connection.execute(
                    sql.SQL("ALTER ROLE {} SET {} = {}").format(
                        sql.Identifier(MANAGER), sql.Identifier(key), sql.Literal(value)
                    )
                )

    def connect(self, database: str = DATABASE, *, autocommit: bool = False) -> psycopg.Connection:
        """Connect as the superuser; nothing of this connection is logged.

        Raises:
            psycopg.OperationalError: When the server does not let it in.
        """
        return psycopg.connect(
            host=HOST,
            port=self.ports.postgres,
            user=SUPERUSER,
            password=self.superuser_password,
            dbname=database,
            autocommit=autocommit,
            connect_timeout=5,
            options=" ".join(f"-c {key}={value}" for key, value in _UNLOGGED.items()),
        )

    def _password(self, name: str) -> str:
        return self.state.secret(name, lambda: secrets.token_urlsafe(32).encode()).decode()

    def _make(self, programs: Path, how: RunAs, data: Path) -> None:
        folder = self.state.wipe(NAME)
        data.mkdir(mode=0o700)
        password = self.state.write(f"{NAME}/password", self.superuser_password)
        for path in (password, data, folder):
            if how.owner:
                os.chown(path, how.owner.uid, how.owner.gid)
        argv = [*how.prefix, str(programs / "initdb"), "-D", how.data(data), "-U", SUPERUSER]
        argv += ["--auth=scram-sha-256", f"--pwfile={how.data(data)}/../password"]
        argv += ["--encoding=UTF8", "--no-locale", "--no-instructions"]
        account = how.account
        made = subprocess.run(
            argv,
            cwd=data,
            env=environment(self.state),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            umask=0o077,
            check=False,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        password.unlink()
        if made.returncode != 0:
            why = (made.stderr.strip().splitlines() or ["no output"])[0]
            raise RemitError(f"PostgreSQL's data cannot be made: {why[:200]}", code="server.failed")
        self.state.complete(NAME)


def _end_leftovers(data: Path) -> None:
    """Kill what still runs on the data of a server that was killed: two on one folder would ruin it."""
    left = []
    for process in psutil.process_iter(["name"]):
        try:
            if str(process.info["name"]).startswith("postgres") and Path(process.cwd()) == data:
                process.kill()
                left.append(process)
        except (psutil.Error, OSError):
            continue
    psutil.wait_procs(left, timeout=10)
