"""History: a run of the task as Temporal keeps it, compared with the records.

- The digest is over the JSON that ``temporal workflow show -o json`` prints: base64url SHA-256 of the RFC 8785
  canonical form of its first n events. Events are only ever appended.
- A run that ended holds the seal its worker was given then: which records there were, signed by the authority.
- Every governed activity that completed there has its record here.
"""

from __future__ import annotations

import json
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

import rfc8785

from remit.errors import InvalidDocument, Usage
from remit.evidence import seals
from remit.evidence.document import Export, Run
from remit.evidence.findings import Finding, found
from remit.evidence.keys import Keys
from remit.evidence.records import Record

SEAL = "remit.seal"
"""The local activity whose result is the seal."""
_HEADER = "remit"
_APPROVALS = "remit-approvals"
_DECIDE = "remit.decide"
_SCHEDULED = "activityTaskScheduledEventAttributes"
Event = Mapping[str, Any]


def digest(events: Sequence[Event]) -> str:
    """Return what an export says of these events."""
    return urlsafe_b64encode(sha256(rfc8785.dumps(list(events))).digest()).rstrip(b"=").decode()


def read(data: bytes) -> list[Event]:
    """Return the events of a history file.

    Raises:
        Usage: ``history.invalid``.
    """
    try:
        events = json.loads(data)["events"]
        if type(events) is list and all(type(one) is dict for one in events):
            rfc8785.dumps(events)
            return events
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise Usage(
        "this is no history",
        code="history.invalid",
        next_action="Give what `temporal workflow show --workflow-id TASK -o json` prints.",
    )


def seal(events: Sequence[Event]) -> Mapping[str, Any] | None:
    """Return the seal in a run's history; None when there is none that can be read."""
    for event in reversed(events):
        details = _within(event, "markerRecordedEventAttributes", "details")
        asked = _first(details.get("data"))
        if isinstance(asked, dict) and asked.get("activity_type") == SEAL:
            said = _first(details.get("result"))
            return said if isinstance(said, dict) and said else None
    return None


def approvals(events: Sequence[Event]) -> Iterator[str]:
    """Yield the decisions that a run was sent, and the approvals that its steps were tried with."""
    for event in events:
        signal = _within(event, "workflowExecutionSignaledEventAttributes")
        update = _within(event, "workflowExecutionUpdateAcceptedEventAttributes", "acceptedRequest", "input")
        sent = [signal.get("input")] if signal.get("signalName") == _DECIDE else []
        sent += [update.get("args")] if update.get("name") == _DECIDE else []
        given = _decoded(_fields(event).get(_APPROVALS))
        yield from (token for token in map(_first, sent) if isinstance(token, str))
        yield from (token for token in (given if isinstance(given, list) else ()) if isinstance(token, str))


def children(events: Sequence[Event]) -> Iterator[str]:
    """Yield the tasks that a run started."""
    for event in events:
        name = _within(event, "startChildWorkflowExecutionInitiatedEventAttributes").get("workflowId")
        if isinstance(name, str):
            yield name


def compare(
    export: Export, histories: Sequence[Sequence[Event]], records: Sequence[Record], *, keys: Keys
) -> list[Finding]:
    """Return what does not hold between an export, its seals, and histories that came straight from Temporal."""
    wrong = [one for run in export.history for one in _sealed(run.run_id, run.seal, records, export=export, keys=keys)]
    for number, events in enumerate(histories, start=1):
        run = next((one for one in export.history if digest(events[: one.events]) == one.digest), None)
        if run is None:
            wrong.append(found("history", "the export's digests fit none of this history's runs", history=number))
            continue
        if (said := seal(events)) is not None and said != run.seal:
            wrong.append(found("history", "the seal in it is not the one in the export", run=run.run_id))
        wrong += _completed(run, events, records)
    return wrong


def _sealed(
    run: str, said: Mapping[str, Any] | None, records: Sequence[Record], *, export: Export, keys: Keys
) -> Iterator[Finding]:
    if said is None:
        return
    try:
        head = seals.verify(str(said.get("head")), keys=keys)
    except InvalidDocument as error:
        yield found("seal", f"a run's seal is not the authority's: {error.message} [{error.code}]", run=run)
        return
    if (said.get("writer"), said.get("seq")) != (head.writer, head.seq):
        yield found("seal", "a run's seal is not about the head it names", run=run)
    elif head.writer not in {one.writer for one in export.writers}:
        yield found(
            "writer-missing", "the writer that sealed this run is not in the export", writer=head.writer, run=run
        )


def _completed(run: Run, events: Sequence[Event], records: Sequence[Record]) -> Iterator[Finding]:
    runs = {run.run_id, *_before_resets(events)}
    known = {
        str(one.facts.get("activity"))
        for one in records
        if one.facts.get("outcome") == "ok" and one.facts.get("run") in runs
    }
    scheduled = {str(event.get("eventId")): event for event in events if _HEADER in _fields(event)}
    for event in events:
        done = _within(event, "activityTaskCompletedEventAttributes").get("scheduledEventId")
        asked = None if done is None else scheduled.get(str(done))
        if asked is None:
            continue
        activity = str(asked[_SCHEDULED].get("activityId"))
        if activity not in known:
            yield found("record-missing", "a step completed and no record says so", run=run.run_id, activity=activity)


def _before_resets(events: Sequence[Event]) -> Iterator[str]:
    """Yield the runs whose events a reset took over into this one."""
    for event in events:
        base = _within(event, "workflowTaskFailedEventAttributes").get("baseRunId")
        if isinstance(base, str):
            yield base


def _fields(event: Event) -> Mapping[str, Any]:
    return _within(event, _SCHEDULED, "header", "fields")


def _within(value: Any, *names: str) -> Mapping[str, Any]:
    """Return the object that stands under these names; an empty one where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _first(group: Any) -> Any:
    payloads = group.get("payloads") if isinstance(group, dict) else None
    return _decoded(payloads[0]) if isinstance(payloads, list) and payloads else None


def _decoded(payload: Any) -> Any:
    """Return the JSON a payload holds; None when it holds none, or is encrypted."""
    try:
        return json.loads(b64decode(payload["data"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
