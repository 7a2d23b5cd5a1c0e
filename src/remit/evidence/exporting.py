"""Exporting: one task's evidence, gathered from the log, the registry and Temporal into one file.

- Lines are taken verbatim. Nothing is judged here: what is missing or broken, verification names.
- A record that is not sealed yet is waited for, a while; a writer that died before its last head is exported as it is.
- Decisions that had effect are in the registry. Those that had none are in the task's history, as long as Temporal
  keeps it; where payloads are encrypted, only a reader can export these.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from temporalio.api.common.v1 import Payload
from temporalio.service import RPCError, RPCStatusCode

from remit.audit import plain
from remit.codec import ENCODING
from remit.errors import Held, InvalidDocument, Refused
from remit.evidence import history, records
from remit.evidence.document import Export, Run, Sealed, Stated, Writer
from remit.principals import SAFE_NAME, Principal
from remit.statements import DelegationSubject, Subject, whose

if TYPE_CHECKING:
    from temporalio.client import Client

    from remit.chain import Chain
    from remit.chains import Chains
    from remit.registry import Registry
    from remit.standing import Standing

SEALED_SECONDS = 15.0
"""How long an export waits for the next head."""
_RPC = timedelta(seconds=30)
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where evidence is.

    Args:
        folder: The audit log's. actions: The schema's action hierarchy.
        stops: Whether policy lets this user stop what is this principal's.
    """

    folder: Path
    registry: Registry
    chains: Chains
    standing: Standing
    client: Client
    actions: Mapping[str, frozenset[str]]
    stops: Callable[[Principal, Principal], bool]

    @property
    def namespace(self) -> str:
        """Temporal's namespace."""
        return self.client.namespace


async def export(sources: Sources, task: str, *, by: str, at: int, keys: Json) -> Export:
    """Return a task's evidence.

    Args:
        by: Who exports, a SPIFFE ID. at: Now, Unix seconds. keys: A JWK Set, for information.

    Raises:
        Refused: ``task.unknown``: neither the log nor Temporal knows it. Held: OpenBao or Temporal does not answer.
    """
    task = str(plain(task))
    lines = await asyncio.to_thread(read, sources.folder, task, sources.namespace)
    found = [_sound(line, writer, task, sources.namespace) for writer, held in lines.items() for line in held]
    told = [one for one in found if one is not None]
    runs: list[Run] = []
    tokens: dict[str, None] = {}
    children: dict[str, None] = {}
    known = [str(record["run"]) for record in told if record.get("run")]
    async for run, events in _histories(sources.client, task, known):
        opened = await _opened(events, sources.client)
        runs.append(Run(run, len(events), history.digest(events), history.seal(opened)))
        tokens |= dict.fromkeys(history.approvals(opened))
        children |= dict.fromkeys(history.children(opened))
    if not lines and not runs:
        raise Refused(f"there is no task {task[:80]}", code="task.unknown", next_action="List them with: remit tasks")
    chains = await _chains(sources, told)
    named = {str(given.get("by")) for record in told for given in record.get("approvals") or ()}
    return Export(
        task=task,
        namespace=sources.namespace,
        exported_at=at,
        by=by,
        writers=tuple(await asyncio.gather(*(_writer(sources, *one) for one in lines.items()))),
        chains={chain.leaf.jti: chain.jws for chain in chains},
        approvals=tuple([one async for one in _decisions(sources.registry, told, tokens)]),
        statements=tuple([one async for one in _statements(sources, chains, named)]),
        policy_sets=tuple(dict.fromkeys(str(one["policy_set"]) for one in told if one.get("policy_set"))),
        actions=sources.actions,
        history=tuple(runs),
        children=tuple(children),
        keys=keys,
    )


def read(folder: Path, task: str, namespace: str) -> dict[str, list[str]]:
    """Return the lines of a task's records, by writer in the order of their files."""
    found: dict[str, list[str]] = {}
    written = json.dumps(task, ensure_ascii=False)
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").split("\n"):
            if written not in line:
                continue
            try:
                record = json.loads(line)
            except ValueError:
                continue  # cut off by a crash; `remit audit verify` of the folder names it
            if isinstance(record, dict) and record.get("task") == task and record.get("namespace") == namespace:
                found.setdefault(str(record.get("writer")), []).append(line)
    return found


def _sound(line: str, writer: str, task: str, namespace: str) -> Json | None:
    """Return what a record says; None of one that was tampered with, which is exported all the same."""
    try:
        return records.read(line, writer=writer, task=task, namespace=namespace).facts
    except InvalidDocument:
        return None


async def _writer(sources: Sources, writer: str, lines: Sequence[str]) -> Writer:
    numbers = [json.loads(line).get("seq") for line in lines]
    last = max((number for number in numbers if type(number) is int), default=0)
    heads = sources.registry.heads
    deadline = asyncio.get_running_loop().time() + SEALED_SECONDS
    while not (covering := [number for number in await heads.numbers(writer) if number >= last]):
        if asyncio.get_running_loop().time() > deadline:
            return Writer(writer, tuple(lines), None)
        await asyncio.sleep(0.5)
    held = await heads.get(writer, covering[0])
    return Writer(writer, tuple(lines), None if held is None else Sealed(str(held["head"]), tuple(held["leaves"])))


async def _chains(sources: Sources, told: Sequence[Json]) -> list[Chain]:
    leaves = dict.fromkeys(str((record.get("chain") or [record.get("delegation")])[-1]) for record in told)
    epoch = await sources.standing.epoch()
    found = []
    for leaf in leaves:
        try:
            found.append(await sources.chains.down_to(leaf, epoch=epoch))
        except (Refused, InvalidDocument):
            continue  # a refused attempt may have named anything
    return found


async def _statements(sources: Sources, chains: Sequence[Chain], approvers: set[str]) -> AsyncIterator[Stated]:
    """Yield what was validly stated about these chains and approvers."""
    about: dict[Subject, Sequence[Any]] = {}
    for name in sorted(approvers):
        with suppress(InvalidDocument):
            about[Principal.parse(name)] = ()
    for chain in chains:
        about |= {DelegationSubject(link.jti, link.iss): chain.links[: at + 1] for at, link in enumerate(chain.links)}
        about |= dict.fromkeys(chain.principals, ())
    epoch = await sources.standing.epoch()
    for subject, links in about.items():
        for token in await sources.registry.statements(subject):
            try:
                said = await sources.standing.statement(token, subject=subject, links=links, epoch=epoch)
            except InvalidDocument:
                continue
            staff = said.iss.kind == "user" and sources.stops(said.iss, whose(subject, links))
            yield Stated(token, staff or await sources.registry.confirmed(token), staff)


async def _decisions(registry: Registry, told: Sequence[Json], tokens: Mapping[str, None]) -> AsyncIterator[str]:
    """Yield the decisions that records name: from the registry what had effect, the rest while Temporal has it."""
    decisions = registry.decisions
    names = {str(given.get("id")) for record in told for given in record.get("approvals") or ()}
    names |= {str(record["approval"]) for record in told if record.get("approval")}
    requests = {str(record["request"]): str(record["binding"]) for record in told if record.get("binding")}
    kept = [await decisions.used(name) for name in sorted(names) if SAFE_NAME.fullmatch(name)]
    kept += [await decisions.rejection(request, binding=binding) for request, binding in requests.items()]
    for token in dict.fromkeys([one for one in kept if one] + list(tokens)):
        try:
            body = token.split(".")[1]
            jti = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))).get("jti")
        except (ValueError, IndexError, AttributeError):
            continue
        if jti in names:
            names.discard(jti)
            yield token


async def _histories(
    client: Client, task: str, known: Sequence[str]
) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """Yield every run of a task that Temporal still has, oldest first."""
    found: dict[str, None] = dict.fromkeys(known)
    try:
        listed = client.list_workflows(f"WorkflowId = {json.dumps(task)}", rpc_timeout=_RPC)
        started = sorted([(one.start_time, one.run_id) async for one in listed])
        runs = [run for _, run in started] + [run for run in found if run not in {run for _, run in started}]
        for run in runs:
            try:
                held = await client.get_workflow_handle(task, run_id=run).fetch_history(rpc_timeout=_RPC)
            except RPCError as error:
                if error.status not in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
                    raise
                continue
            yield run, held.to_json_dict()["events"]
    except RPCError as error:
        raise Held(
            "Temporal does not answer",
            code="temporal.unreachable",
            next_action="Start the stack with `remit dev`, or look with `remit doctor`.",
        ) from error


async def _opened(events: list[dict[str, Any]], client: Client) -> list[dict[str, Any]]:
    """Return the events with their payloads decrypted, as far as whoever exports may read them."""
    codec = client.data_converter.payload_codec
    copy: list[dict[str, Any]] = json.loads(json.dumps(events))
    sealed = [one for one in _payloads(copy) if base64.b64decode(one["metadata"].get("encoding", "")) == ENCODING]
    if codec is None or not sealed:
        return copy
    try:
        plain = await codec.decode([_payload(one) for one in sealed])
    except Refused:
        return copy
    for one, opened in zip(sealed, plain, strict=True):
        one["data"] = base64.b64encode(opened.data).decode()
    return copy


def _payloads(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for one in value:
            yield from _payloads(one)
    elif isinstance(value, dict):
        if isinstance(value.get("metadata"), dict) and "data" in value:
            yield value
        for one in value.values():
            yield from _payloads(one)


def _payload(value: Json) -> Payload:
    return Payload(
        metadata={name: base64.b64decode(text) for name, text in value["metadata"].items()},
        data=base64.b64decode(value["data"]),
    )
