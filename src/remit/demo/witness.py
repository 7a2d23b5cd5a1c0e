"""The witness: what the servers themselves say, asked past Remit.

- PostgreSQL is asked as its superuser and by its own log; OpenBao's own audit log says what was minted.
- A secret is never written down to be searched for: OpenBao hashes each word of a history as it hashes its audit
  log, and the hashes are compared.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from remit.vault import Vault
from remit.vault.logins import Token

if TYPE_CHECKING:
    from temporalio.client import Client, WorkflowHistory

    from remit.embedded import Stack

_WORDS = (re.compile(r"[A-Za-z0-9_.+/=-]{8,}"), re.compile(r"[A-Za-z0-9-]{8,}"))
_ENTRY = re.compile(r"^(?=[0-9]{4}-[0-9]{2}-[0-9]{2} )", re.MULTILINE)
_SECRET_FIELDS = frozenset({"password", "client_token", "token", "jwt", "key", "private_key", "secret"})
_AT_ONCE = 32


class Witness:
    """Asks the embedded servers directly.

    Args:
        stack: The running stack.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def users(self, delegation: str) -> list[str]:
        """Return the database users that exist now for a delegation."""
        return self._names("SELECT rolname FROM pg_roles WHERE rolname LIKE %s", delegation)

    def sessions(self, delegation: str) -> list[str]:
        """Return the database users of a delegation that have a session now."""
        return self._names("SELECT usename FROM pg_stat_activity WHERE usename LIKE %s", delegation)

    def table(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of a query, as the superuser sees them."""
        with self._stack.postgres.connect("flights", autocommit=True) as admin:
            cursor = admin.execute(query.encode())
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def statements(self, needle: str) -> list[str]:
        """Return the entries of PostgreSQL's own log that hold a text, each on one line."""
        log = self._stack.postgres.log.read_text(encoding="utf-8", errors="replace")
        return [" ".join(entry.split()) for entry in _ENTRY.split(log) if needle in entry]

    async def ended(self, delegation: str, *, since: float, within: float = 10.0) -> float:
        """Return how many milliseconds after `since` (monotonic) the last database session of a delegation was gone.

        Raises:
            TimeoutError: It still lives.
        """

        def look() -> float:
            with self._stack.postgres.connect("flights", autocommit=True) as admin:
                while time.monotonic() < since + within:
                    found = admin.execute(
                        "SELECT 1 FROM pg_stat_activity WHERE usename LIKE %s", (f"d-{delegation}-%",)
                    ).fetchone()
                    if found is None:
                        return (time.monotonic() - since) * 1000
                    time.sleep(0.001)
            raise TimeoutError

        return await asyncio.to_thread(look)

    async def secrets_in(self, texts: dict[str, str]) -> list[str]:
        """Return in which of these texts a secret stands: of the state folder, or one OpenBao gave or was given."""
        known = [value for value in self._state_secrets() if len(value) >= 8]
        found = [f"{name}: a secret of the state folder" for name, text in texts.items() if _any(known, text)]
        hashed = self._hashed()
        words = {word: name for name, text in texts.items() for word in _words(text)}
        gate = asyncio.Semaphore(_AT_ONCE)
        openbao = self._stack.openbao
        async with Vault(openbao.address, openbao.ca, Token(openbao.admin_token())) as vault:

            async def check(word: str, name: str) -> None:
                async with gate:
                    answer = await vault.write("sys/audit-hash/file", input=word)
                if answer and answer["data"]["hash"] in hashed:
                    found.append(f"{name}: a secret OpenBao gave or was given")

            await asyncio.gather(*(check(word, name) for word, name in words.items()))
        return found

    def hashed_secrets(self) -> int:
        """Return how many secrets OpenBao's audit log knows of."""
        return len(self._hashed())

    def _hashed(self) -> set[str]:
        log = self._stack.state.path / "logs" / "openbao-audit.log"
        return {
            value
            for line in log.read_text(encoding="utf-8").splitlines()
            for value in _secret_fields(json.loads(line))
            if value.startswith("hmac-sha256:")
        }

    def _state_secrets(self) -> Iterator[str]:
        home = self._stack.state.path
        for file in [*home.glob("keys/*"), *home.glob("passwords/*")]:
            raw = file.read_bytes()
            yield raw.decode(errors="ignore").strip() if raw.isascii() else base64.b64encode(raw).decode()
        for file in home.glob("sessions/*.json"):
            yield str(json.loads(file.read_text())["token"])

    def _names(self, query: str, delegation: str) -> list[str]:
        with self._stack.postgres.connect("flights", autocommit=True) as admin:
            return [row[0] for row in admin.execute(query.encode(), (f"d-{delegation}-%",))]


async def histories(client: Client, folder: Path) -> dict[str, str]:
    """Export every history to a folder that is there; return them as text, what they carry decoded."""
    texts: dict[str, str] = {}
    async for execution in client.list_workflows():
        history = await client.get_workflow_handle(execution.id, run_id=execution.run_id).fetch_history()
        exported = history.to_json()
        (folder / f"{execution.id}-{execution.run_id}.json").write_text(exported)
        texts[execution.id] = text_of(history)
    return texts


def text_of(history: WorkflowHistory) -> str:
    """Return all text of a history, what it carries decoded."""
    return "\n".join(_decoded(json.loads(history.to_json())))


def _decoded(value: Any) -> Iterator[str]:
    """Yield every string of an exported history, payloads in clear."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            if key == "data" and isinstance(item, str):
                yield base64.b64decode(item).decode(errors="replace")
            yield from _decoded(item)
    elif isinstance(value, list):
        for item in value:
            yield from _decoded(item)
    elif isinstance(value, str):
        yield value


def _secret_fields(value: Any, field: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _secret_fields(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from _secret_fields(item, field)
    elif isinstance(value, str) and field in _SECRET_FIELDS:
        yield value


def _words(text: str) -> set[str]:
    return {word for pattern in _WORDS for word in pattern.findall(text) if len(word) <= 4096}


def _any(needles: list[str], text: str) -> bool:
    return any(needle in text for needle in needles)
