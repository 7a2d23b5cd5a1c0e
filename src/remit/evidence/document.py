"""The export: one task's evidence in one JSON file.

    {"format": "remit-audit-export/1", "task", "namespace", "exported_at": seconds, "by": SPIFFE ID,
     "writers":     [{"writer", "records": [line, verbatim…], "head": {"head": jws, "leaves": […]} | null}…],
     "chains":      {leaf delegation: [jws, root first…]},
     "approvals":   [jws…],
     "statements":  [{"jws", "confirmed": bool, "staff": bool}…],
     "policy_sets": [digest…],
     "actions":     {action or group: [what it stands under…]},
     "history":     [{"run_id", "events": how many, "digest", "seal": {"writer", "seq", "head"} | null}…],
     "children":    [task…],
     "keys":        JWK Set}

- Reading is strict: what is malformed is refused whole, before anything in it is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from remit import strictjson
from remit.claims import Claims
from remit.errors import InvalidDocument

FORMAT = "remit-audit-export/1"
MAX_FILE = 64 * 1024 * 1024
"""Bytes of an export."""
_MEMBERS = frozenset(
    {"format", "task", "namespace", "exported_at", "by", "writers", "chains", "approvals", "statements"}
    | {"policy_sets", "actions", "history", "children", "keys"}
)

_STATEMENT = {"jws", "confirmed", "staff"}


@dataclass(frozen=True, slots=True)
class Sealed:
    """A head as it is kept: the signed document and its leaves."""

    head: str
    leaves: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Writer:
    """One writer's records of the task, and the first head that covers the last of them."""

    writer: str
    records: tuple[str, ...]
    head: Sealed | None


@dataclass(frozen=True, slots=True)
class Stated:
    """A statement, with what only the registry and policy can say of it.

    Args:
        confirmed: Whether it was found permitted. staff: Whether policy lets its issuer stop what others delegated.
    """

    jws: str
    confirmed: bool
    staff: bool


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the task in Temporal.

    Args:
        events: How many events the digest is over. digest: See `remit.evidence.history.digest`.
        seal: What the run's own end says of the records, as it stands in the history; None where there is none.
    """

    run_id: str
    events: int
    digest: str
    seal: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Export:
    """An export's members, of the right types and nothing more."""

    task: str
    namespace: str
    writers: tuple[Writer, ...]
    chains: Mapping[str, tuple[str, ...]]
    approvals: tuple[str, ...]
    statements: tuple[Stated, ...]
    actions: Mapping[str, frozenset[str]]
    history: tuple[Run, ...]
    exported_at: int = 0
    by: str = ""
    policy_sets: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    keys: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "format": FORMAT,
            "task": self.task,
            "namespace": self.namespace,
            "exported_at": self.exported_at,
            "by": self.by,
            "writers": [
                {
                    "writer": one.writer,
                    "records": list(one.records),
                    "head": one.head and {"head": one.head.head, "leaves": list(one.head.leaves)},
                }
                for one in self.writers
            ],
            "chains": {leaf: list(links) for leaf, links in self.chains.items()},
            "approvals": list(self.approvals),
            "statements": [{"jws": one.jws, "confirmed": one.confirmed, "staff": one.staff} for one in self.statements],
            "policy_sets": list(self.policy_sets),
            "actions": {name: sorted(groups) for name, groups in sorted(self.actions.items())},
            "history": [
                {"run_id": one.run_id, "events": one.events, "digest": one.digest, "seal": one.seal and dict(one.seal)}
                for one in self.history
            ],
            "children": list(self.children),
            "keys": dict(self.keys),
        }


def is_export(data: bytes) -> bool:
    """Tell whether a file means to be an export."""
    return f'"{FORMAT.partition("/")[0]}/'.encode() in data[:4096]


def read(data: bytes) -> Export:
    """Read an export.

    Raises:
        InvalidDocument: ``evidence.format``.
    """
    if len(data) > MAX_FILE:
        raise _malformed("it is too large")
    try:
        value = strictjson.loads(data)
        if value.get("format") != FORMAT:
            raise _malformed(f"its format is not {FORMAT}")
        return _read(value)
    except InvalidDocument as error:
        raise _malformed(error.message) from None


def _read(value: Mapping[str, Any]) -> Export:
    read = Claims(value, document="evidence", required=_MEMBERS)
    return Export(
        task=read.text("task", most=1024),
        namespace=read.text("namespace"),
        exported_at=read.time("exported_at"),
        by=read.text("by"),
        writers=tuple(_writer(one) for one in _objects(value["writers"], "writers", {"writer", "records", "head"})),
        chains={leaf: _texts(links, "chains") for leaf, links in _object(value["chains"], "chains").items()},
        approvals=_texts(value["approvals"], "approvals"),
        statements=tuple(
            _statement(one) for one in _objects(value["statements"], "statements", {"jws", "confirmed", "staff"})
        ),
        policy_sets=_texts(value["policy_sets"], "policy_sets"),
        actions={
            name: frozenset(_texts(groups, "actions")) for name, groups in _object(value["actions"], "actions").items()
        },
        history=tuple(
            _run(one) for one in _objects(value["history"], "history", {"run_id", "events", "digest", "seal"})
        ),
        children=_texts(value["children"], "children"),
        keys=_object(value["keys"], "keys"),
    )


def _writer(value: Mapping[str, Any]) -> Writer:
    held = value["head"]
    sealed = None
    if held is not None:
        (one,) = _objects([held], "head", {"head", "leaves"})
        sealed = Sealed(_text(one["head"], "head"), _texts(one["leaves"], "leaves"))
    return Writer(_text(value["writer"], "writer"), _texts(value["records"], "records"), sealed)


def _statement(value: Mapping[str, Any]) -> Stated:
    return Stated(_text(value["jws"], "jws"), value["confirmed"] is True, value["staff"] is True)


def _run(value: Mapping[str, Any]) -> Run:
    events, seal = value["events"], value["seal"]
    if type(events) is not int or events < 0:
        raise _malformed("history: events is no number")
    if seal is not None:
        seal = _object(seal, "seal")
    return Run(_text(value["run_id"], "run_id"), events, _text(value["digest"], "digest"), seal)


def _objects(value: object, name: str, members: set[str]) -> Sequence[Mapping[str, Any]]:
    if type(value) is not list or not all(type(one) is dict and one.keys() == members for one in value):
        raise _malformed(f"{name} is not a list of objects with {', '.join(sorted(members))}")
    return value


def _object(value: object, name: str) -> Mapping[str, Any]:
    if type(value) is not dict:
        raise _malformed(f"{name} is not an object")
    return value


def _texts(value: object, name: str) -> tuple[str, ...]:
    if type(value) is not list:
        raise _malformed(f"{name} is not a list")
    return tuple(_text(one, name) for one in value)


def _text(value: object, name: str) -> str:
    if type(value) is not str:
        raise _malformed(f"{name} is not text")
    return value


def _malformed(why: str) -> InvalidDocument:
    return InvalidDocument(f"this is no export: {why}", code="evidence.format")
