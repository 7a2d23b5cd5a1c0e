"""Registry: the signed documents and the facts about them, in OpenBao.

- Delegations and statements are written once and verify themselves; whoever reads them checks signatures.
- A statement is acknowledged only when it is stored *and* the epoch was changed after it, so a reader that sees an
  unchanged epoch may go on trusting statements it read after reading that epoch.
- Which executions may use a delegation, and which approvals are used up, changes by compare-and-set.
- None means: not there, which readers take for revoked. No answer raises `Held`. Only immutable documents are cached.

Paths in the mount ``remit`` (KV v2), ``<root>`` and every id a UUID:

    epoch                                   {"value"}
    principals/<kind>/<name>                {"id", "jwk", "alg", "key"}
    keys/<thumbprint, base32>               {"id", "jwk"}    of former keys too
    delegations/<id>                        {"jws", "parent", "namespace", "workflow_id"}
    runs/<delegation>                       {"tasks": {<workflow id>: <first run id> | null}}
    statements/delegation/<id>/<statement>  {"jws"}          also statements/user/…, statements/agent/…
    confirmed/<SHA-256, base32>             {"permitted"}    statements the authority found permitted
    approvals/…                             see `remit.decisions`
    once/<step>                             see `remit.doing`
    budget/<root>                           see `remit.ledger`
    audit/<writer>/<seq>                    see `remit.heads`

What is live, and really deleted, is in `remit.live`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from remit import jose
from remit.chain import chain_digest
from remit.decisions import Decisions
from remit.delegation import MAX_LINKS, Reference
from remit.errors import Held, InvalidDocument, Refused
from remit.heads import Heads
from remit.live import Live
from remit.principals import SAFE_NAME, Principal
from remit.statements import Subject
from remit.vault import Documents, Shared, Vault
from remit.vault.paths import join
from remit.vault.shared import Batch

MOUNT = "remit"
_TRIES = 8
_CACHED = 4096


@dataclass(frozen=True, slots=True)
class DelegationRecord:
    """A stored delegation.

    Args:
        jti: Its id. jws: The signed document. parent: The parent's id; None at the root.
        namespace: Temporal namespace. workflow_id: The execution it was made for.
    """

    jti: str
    jws: str
    parent: str | None
    namespace: str
    workflow_id: str


@dataclass(frozen=True, slots=True)
class PrincipalRecord:
    """An entry of the principal directory.

    Args:
        principal: Who. key: The public key. signing_key: Name of the private one in Transit.
    """

    principal: Principal
    key: jose.PublicKey
    signing_key: str


class Registry:
    """The registry behind one session.

    Args:
        vault: OpenBao. The records themselves, for the ledger and for bootstrap, are `documents`.
    """

    def __init__(self, vault: Vault) -> None:
        self.live = Live(vault)
        self.documents = Documents(vault, MOUNT)
        self.heads = Heads(self.documents)
        self.decisions = Decisions(self.documents)
        self._epoch = Shared(self._read_epoch)
        self._links: dict[tuple[str, str], tuple[str, ...]] = {}
        self._made_for: dict[str, tuple[str, str]] = {}
        self._statements: dict[str, str] = {}
        self._bound: dict[tuple[str, str, str, str], None] = {}
        self._runs: dict[str, Batch[tuple[str, str | None], bool]] = {}

    async def epoch(self) -> str:
        """Return the epoch, from a read that begins after this call; concurrent callers share one.

        Raises:
            Held: ``registry.empty``: nothing is set up; or OpenBao did not answer.
        """
        return await self._epoch()

    async def raise_epoch(self) -> str:
        """Change the epoch; the value is random, so two writers need not agree."""
        value = str(uuid.uuid4())
        await self.documents.put("epoch", {"value": value})
        return value

    async def _read_epoch(self) -> str:
        record, version = await self.documents.versioned("epoch")
        if record is None:
            raise Held(
                "the registry in OpenBao is not set up", code="registry.empty", next_action="Run `remit bootstrap`."
            )
        # The version only ever rises, so nobody can hide a statement by writing an earlier value back.
        return f"{version}.{record['value']}"

    async def principal(self, principal: Principal) -> PrincipalRecord | None:
        """Return a principal's entry in the directory."""
        record = await self.documents.get(join("principals", principal.kind, principal.name))
        if record is None or record["id"] != principal.spiffe_id:
            return None
        return PrincipalRecord(principal, jose.public_key(record["jwk"]), str(record["key"]))

    async def principal_by_kid(self, kid: str) -> PrincipalRecord | None:
        """Return the entry of the principal whose present key has this id (RFC 7638 thumbprint)."""
        owner = await self.key_owner(kid)
        record = None if owner is None else await self.principal(owner[0])
        return record if record is not None and record.key.kid == kid else None

    async def key_owner(self, kid: str) -> tuple[Principal, jose.PublicKey] | None:
        """Return whose key this is or was, and the key itself: what a former key stopped stays stopped."""
        name = key_name(kid)
        found = None if name is None else await self.documents.get(join("keys", name))
        if found is None:
            return None
        key = jose.public_key(found["jwk"])
        return (Principal.parse(found["id"]), key) if key.kid == kid else None

    async def put_principal(self, record: PrincipalRecord) -> bool:
        """Write an entry of the directory (operator only); tell whether anything changed."""
        principal, key = record.principal, record.key
        wanted = {"id": principal.spiffe_id, "jwk": dict(key.jwk), "alg": key.alg, "key": record.signing_key}
        path = join("principals", principal.kind, principal.name)
        index = join("keys", key_name(key.kid) or "")
        entry, named = await asyncio.gather(self.documents.get(path), self.documents.get(index))
        owner = {"id": principal.spiffe_id, "jwk": dict(key.jwk)}
        if named != owner:
            await self.documents.put(index, owner)
        if entry != wanted:
            await self.documents.put(path, wanted)
        if changed := entry != wanted or named != owner:
            await self.raise_epoch()
        return changed

    async def put_delegation(self, jws: str, *, jti: str, parent: str | None, namespace: str, workflow_id: str) -> None:
        """Store a delegation, once; storing the same one again is no error.

        Raises:
            Refused: ``registry.exists``: another document has this id.
        """
        path = join("delegations", jti)
        record = {"jws": jws, "parent": parent, "namespace": namespace, "workflow_id": workflow_id}
        if not await self.documents.create(path, record) and await self.documents.get(path) != record:
            raise Refused(f"another delegation has the id {jti}", code="registry.exists")

    async def delegation(self, jti: str) -> DelegationRecord | None:
        """Return a stored delegation, read now; None means revoked."""
        record = await self.documents.get(join("delegations", jti))
        if record is None:
            return None
        # Agents may write here. What is no text is nobody's: no signature makes it valid, no execution has it.
        parent, namespace, task = (_text(record, name) for name in ("parent", "namespace", "workflow_id"))
        _keep(self._made_for, jti, (namespace, task))
        return DelegationRecord(jti, _signed(record), parent or None, namespace, task)

    async def delegations(self) -> list[str]:
        """Return the ids of all delegations."""
        return [name for name in await self.documents.names("delegations") if SAFE_NAME.fullmatch(name)]

    async def links(self, reference: Reference) -> tuple[str, ...] | None:
        """Return the chain a reference names, root first; None when a link is not there.

        Raises:
            InvalidDocument: ``chain.digest``: another chain than the reference says; ``chain.links``: too long.
        """
        key = (reference.delegation, reference.digest)
        if (known := self._links.get(key)) is not None:
            return known
        found: list[str] = []
        jti: str | None = reference.delegation
        while jti is not None:
            if len(found) == MAX_LINKS:
                raise InvalidDocument(f"a chain has at most {MAX_LINKS} links", code="chain.links", rule=1)
            record = await self.delegation(jti)
            if record is None:
                return None
            found.append(record.jws)
            jti = record.parent
        links = tuple(reversed(found))
        if chain_digest(links) != reference.digest:
            raise InvalidDocument("the stored chain is not the one referred to", code="chain.digest", rule=15)
        _keep(self._links, key, links)
        return links

    async def bind_run(self, jti: str, *, namespace: str, workflow_id: str, first_run_id: str) -> bool:
        """Tell whether this execution may use the delegation; the first to ask under an allowed workflow id is bound.

        Raises:
            Held: Too many others write at the same time, or OpenBao did not answer.
        """
        key = (jti, namespace, workflow_id, first_run_id)
        if key in self._bound:
            return True
        if (jti not in self._made_for and await self.delegation(jti) is None) or self._made_for[jti][0] != namespace:
            return False
        if bound := await self._entering(jti)((workflow_id, first_run_id)):
            _keep(self._bound, key, None)
        return bound

    async def allow_task(self, jti: str, *, workflow_id: str) -> None:
        """Let another execution use the delegation: the first one that runs under this workflow id."""
        await self._entering(jti)((workflow_id, None))

    def _entering(self, jti: str) -> Batch[tuple[str, str | None], bool]:
        """Return what enters executions of a delegation: those of one moment in one write, so they do not compete."""
        if jti not in self._runs:
            _keep(self._runs, jti, Batch(partial(self._entered, jti)))
        return self._runs[jti]

    async def _entered(self, jti: str, wishes: Sequence[tuple[str, str | None]]) -> list[bool]:
        path, (_, made_for) = join("runs", jti), self._made_for.get(jti, ("", ""))
        held, version = None, 0  # there is hardly ever a record when a task begins, so the first try expects none
        for number in range(_TRIES):
            before: dict[str, str | None] = held["tasks"] if held else {}
            tasks = dict(before)
            answers = [_enter(tasks, *wish, made_for=made_for) for wish in wishes]
            if tasks != before:
                if await self.documents.replace(path, {"tasks": tasks}, version=version):
                    return answers
            elif number:
                return answers
            held, version = await self.documents.versioned(path)
        raise Held(f"{path}: too many writers at once", code="registry.busy", next_action="It is tried again.")

    async def tasks(self, jti: str) -> dict[str, str | None]:
        """Return the executions that may use a delegation: workflow id to first run id, None until it has run."""
        record, held = await asyncio.gather(self.delegation(jti), self.documents.get(join("runs", jti)))
        tasks: dict[str, str | None] = {} if record is None else {record.workflow_id: None}
        return tasks | (dict(held["tasks"]) if held else {})

    async def put_statement(self, subject: Subject, jti: str, jws: str) -> None:
        """Store a statement and change the epoch; repeating it after an outage is safe.

        Raises:
            Refused: ``registry.exists``: another document has this id.
            Held: It may not count yet; repeat it.
        """
        path = join(_statements(subject), jti)
        if not await self.documents.create(path, {"jws": jws}) and await self.documents.get(path) != {"jws": jws}:
            raise Refused(f"another statement has the id {jti}", code="registry.exists")
        await self.raise_epoch()

    async def stated(self, subject: Subject, jti: str) -> str | None:
        """Return one statement about a subject, unverified; None when it was not made."""
        record = await self.documents.get(join(_statements(subject), jti))
        return None if record is None else _signed(record)

    async def statements(self, subject: Subject) -> list[str]:
        """Return all statements about a subject, unverified, in no particular order."""
        folder = _statements(subject)
        # A statement's name is a UUID. Whoever may write here may write other names too; those say nothing.
        names = [name for name in await self.documents.names(folder) if SAFE_NAME.fullmatch(name)]
        found = (self._statement(join(folder, name)) for name in names)
        return list(await asyncio.gather(*found))

    async def _statement(self, path: str) -> str:
        if (known := self._statements.get(path)) is not None:
            return known
        record = await self.documents.get(path)
        if record is None:
            # Listed but not readable: somebody deleted a statement. What it said is unknown, so nothing goes on.
            raise Held(f"a statement is missing: {path}", code="registry.damaged", next_action="Restore OpenBao.")
        jws = _signed(record)
        _keep(self._statements, path, jws)
        return jws

    async def confirm(self, jws: str) -> None:
        """Record that a statement was permitted when it was made (the authority only)."""
        await self.documents.create(join("confirmed", _digest(jws)), {"permitted": True})

    async def confirmed(self, jws: str) -> bool:
        """Tell whether the authority found this statement permitted, whatever policy says now."""
        return await self.documents.get(join("confirmed", _digest(jws))) is not None


def key_name(kid: str) -> str | None:
    """Return a thumbprint as a name that may stand in a path; None when it is no SHA-256 thumbprint."""
    try:
        raw = base64.urlsafe_b64decode(kid + "=")
    except ValueError:
        return None
    return base64.b32encode(raw).decode().rstrip("=").lower() if len(raw) == 32 else None


def _signed(record: Mapping[str, Any]) -> str:
    """Return the document of a record; of one that holds none nothing, which no signature makes valid."""
    return _text(record, "jws")


def _text(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    return value if isinstance(value, str) else ""


def _digest(jws: str) -> str:
    return base64.b32encode(hashlib.sha256(jws.encode()).digest()).decode().rstrip("=").lower()


def _statements(subject: Subject) -> str:
    if isinstance(subject, Principal):
        return join("statements", subject.kind, subject.name)
    return join("statements", "delegation", subject.jti)


def _enter(tasks: dict[str, str | None], workflow_id: str, first_run_id: str | None, *, made_for: str) -> bool:
    """Allow an execution, or bind its first run; tell whether it may use the delegation."""
    if first_run_id is None:
        tasks.setdefault(workflow_id, None)
        return True
    if workflow_id == made_for or workflow_id in tasks:
        tasks[workflow_id] = tasks.get(workflow_id) or first_run_id
    return tasks.get(workflow_id) == first_run_id


def _keep(cache: dict[Any, Any], key: Any, value: Any) -> None:
    """Keep a value, dropping the oldest beyond the bound."""
    while len(cache) >= _CACHED:
        cache.pop(next(iter(cache)))
    cache[key] = value
