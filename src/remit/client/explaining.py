"""Explaining a task: five questions, answered from evidence. Pure.

1. Which identity acted?  2. With what authority, and why that much?  3. Who approved?
4. Why did it run, and why again hours later?  5. What triggered this downstream change?

- Every sentence rests on a signed delegation or an audit record, named beside it; what is not known is said to be so.
- The scopes come from the verified chain, never from what the workflow says of itself.
- A task answers for the tasks below it as well; asked about one step, for that step alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from remit.client.attempts import Record, by_step, moment
from remit.delegation import Delegation
from remit.principals import Principal
from remit.statements import Event, Statement

_PAST = {Event.REVOKED: "revoked", Event.SUSPENDED: "suspended", Event.REINSTATED: "reinstated"}
QUESTIONS: Mapping[str, str] = {
    "identity": "Which identity acted?",
    "authority": "With what authority, and why that much?",
    "approval": "Who approved?",
    "trigger": "Why did it run, and why again?",
    "downstream": "What triggered this downstream change?",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an explanation rests on.

    Args:
        view: What `remit show` says of the task.
        links: The verified links it has acted under, each chain from its root.
        records: Its audit records and those of the tasks below it, in order of time.
        statements: Verified statements about its delegations and principals.
        step: The only step of the task itself asked about; None: all.
    """

    view: Mapping[str, Any]
    links: Sequence[Delegation]
    records: Sequence[Record]
    statements: Sequence[Statement] = ()
    step: int | None = None

    @property
    def task(self) -> str:
        """The task asked about."""
        return str(self.view.get("task"))

    def attempts(self) -> dict[str, list[dict[str, Any]]]:
        """Return the attempts of the steps asked about, by what the step is called, in order."""
        found = {}
        for task in sorted({str(record.get("task")) for record in self.records if "task" in record}, key=self._order):
            steps = by_step(record for record in self.records if record.get("task") == task)
            for number, tried in sorted(steps.items()):
                if self.step is None or (task == self.task and number == self.step):
                    found[f"step {number}" if task == self.task else f"step {number} of {task}"] = tried
        return found

    def _order(self, task: str) -> tuple[bool, str]:
        return task != self.task, task


def explain(evidence: Evidence) -> dict[str, Any]:
    """Return ``{"task", "step", "answers": [{"id", "question", "answer": [sentence…], "evidence": [{…}…]}…]}``."""
    answers = {
        "identity": _identity(evidence),
        "authority": _authority(evidence),
        "approval": _approval(evidence),
        "trigger": _trigger(evidence),
        "downstream": _downstream(evidence),
    }
    return {
        "task": evidence.view.get("task"),
        "step": evidence.step,
        "answers": [
            {"id": name, "question": QUESTIONS[name], "answer": sentences, "evidence": proof}
            for name, (sentences, proof) in answers.items()
        ],
    }


Answer = tuple[list[str], list[dict[str, Any]]]


def _identity(evidence: Evidence) -> Answer:
    proof = [
        {
            **_place(record, at),
            "agent": record.get("agent"),
            "root": record.get("root"),
            "run": record.get("run"),
            "activity": record.get("activity"),
            "lease": (record.get("lease") or {}).get("id"),
            "user": (record.get("lease") or {}).get("user"),
        }
        for _, at, record in _all(evidence)
    ]
    if not proof:
        return ["Nothing has acted yet: no attempt is on record."], []
    pairs = _unique((one["agent"], one["root"]) for one in proof if one["agent"])
    lines = [f"{_short(agent)} acted, for {_short(root)}." for agent, root in pairs]
    for step, _, record in _all(evidence):
        if (record.get("lease") or {}).get("user"):
            lines.append(f"In the database it was {record['lease']['user']}, a user made for {step} alone.")
    if not lines:
        lines = ["No identity was accepted: every attempt was refused before its chain was verified."]
    return _unique(lines), proof


def _authority(evidence: Evidence) -> Answer:
    lines: list[str] = []
    proof: list[dict[str, Any]] = []
    for link in evidence.links:
        lines.append(
            f"{link.iss.short} handed {link.delegate.short} {_listed(link.scope.actions)} in "
            f"{_listed(link.scope.spaces)}, for {link.purpose}, with a budget of {link.scope.budget}, "
            f"until {moment(link.exp)}."
        )
        proof.append({"delegation": link.jti, "depth": link.depth, "issued": moment(link.iat)})
    if any(link.depth for link in evidence.links):
        lines.append("Each link holds at most what the one above it holds, so the last one is all there was.")
    for step, at, record in _all(evidence):
        policies = list(record.get("policies") or ())
        if record.get("verdict"):
            word = {"permit": "permitted", "deny": "denied", "needs-approval": "held for approval"}.get(
                str(record["verdict"]), str(record["verdict"])
            )
            by = _listed(policies) if policies else "no policy"
            lines.append(f"{_capital(step)}, {record.get('action')} on {record.get('resource')}, was {word} by {by}.")
            proof.append(
                {**_place(record, at), "verdict": record["verdict"], "policies": policies,
                 "policy_set": record.get("policy_set"), "arguments": record.get("arguments")}
            )  # fmt: skip
        elif record.get("code"):
            lines.append(f"{_capital(step)} was refused: {record.get('message') or ''} [{record['code']}].")
    return _unique(lines) or ["Its chain is not known here."], proof


def _approval(evidence: Evidence) -> Answer:
    lines: list[str] = []
    proof: list[dict[str, Any]] = []
    for step, at, record in _all(evidence):
        if record.get("code") == "approval.needed":
            lines.append(f"{_capital(step)} needed a person, by {_listed(list(record.get('policies') or ()))}.")
        for approval in record.get("approvals") or ():
            lines.append(f"{_short(approval.get('by'))} approved {step}, with exactly these arguments.")
            proof.append(
                {**_place(record, at), "approval": approval.get("id"), "by": approval.get("by"),
                 "arguments": record.get("arguments")}
            )  # fmt: skip
        if record.get("code") == "approval.rejected":
            lines.append(f"{_capital(step)} was rejected: {record.get('message')}.")
    delegations = {link.jti for link in evidence.links}
    for told in evidence.records:
        if told.get("event") == "decision" and told.get("delegation") in delegations:
            if told.get("outcome") == "refused":
                lines.append(f"A decision was refused: {told.get('message')} [{told.get('code')}].")
            names = ("request", "approval", "by", "outcome", "code")
            proof.append({name: told.get(name) for name in names} | {"time": _time(told)})
    return _unique(lines) or ["Nobody had to: no policy asked for a person."], proof


def _trigger(evidence: Evidence) -> Answer:
    lines: list[str] = []
    proof: list[dict[str, Any]] = []
    roots = sorted((link for link in evidence.links if not link.depth), key=lambda link: link.iat)
    for root in roots[:1]:
        lines.append(f"{root.iss.short} delegated and started it at {moment(root.iat)}, for {root.purpose}.")
        proof.append({"delegation": root.jti, "time": moment(root.iat)})
    events = [*_statements(evidence), *_resumptions(evidence)]
    for _, line, facts in sorted(events, key=lambda event: event[0]):
        lines.append(line)
        proof.append(facts)
    for step, tried in evidence.attempts().items():
        for at, (before, record) in enumerate(zip([None, *tried], tried, strict=False), start=1):
            why = "the plan's next step" if before is None else _again(before, record)
            lines.append(f"{_capital(step)}, attempt {at}, {_time(record)}: {why}; it ended {_ending(record)}.")
            proof.append(
                {**_place(record, at), "activity": record.get("activity"),
                 "outcome": record.get("outcome"), "code": record.get("code")}
            )  # fmt: skip
    return lines or ["It has not run."], proof


_Event = tuple[float, str, dict[str, Any]]


def _statements(evidence: Evidence) -> Iterable[_Event]:
    began = min((link.iat for link in evidence.links), default=0)
    for one in evidence.statements:
        if one.iat < began:
            continue
        about = one.subject.short if isinstance(one.subject, Principal) else f"delegation {one.subject.jti}"
        why = f": {one.reason}" if one.reason else ""
        line = f"{one.iss.short} {_PAST[one.event]} {about} at {moment(one.iat)}{why}."
        yield one.iat, line, {"statement": one.jti, "event": one.event.name.lower(), "time": moment(one.iat)}


def _resumptions(evidence: Evidence) -> Iterable[_Event]:
    for record in evidence.records:
        if record.get("event") == "resumed":
            who, when = _short(record.get("root")), _time(record)
            line = f"It went on at {when} because {who} delegated anew in place of {record.get('replaces')}."
            yield record["time"], line, {"event": "resumed", "time": when, "chain": record.get("chain")}


def _again(before: Record, record: Record) -> str:
    gap = int(float(record.get("began") or record.get("time") or 0) - float(before.get("time") or 0))
    later = f"{gap} s later" if gap < 7200 else f"{gap // 3600} h later"
    if record.get("approvals"):
        names = _listed(_unique(_short(one.get("by")) for one in record["approvals"]))
        return f"again, {later}, because {names} approved it"
    if before.get("delegation") != record.get("delegation"):
        return f"again, {later}, under a fresh delegation"
    if before.get("outcome") == "held":
        return f"again, {later}, because something needed was unreachable before"
    return f"again, {later}, because the attempt before ended {_ending(before)}"


def _downstream(evidence: Evidence) -> Answer:
    lines: list[str] = []
    proof: list[dict[str, Any]] = []
    for step, at, record in _all(evidence):
        if record.get("outcome") not in ("ok", "permitted", "error", "cancelled", "stopped"):
            continue
        lease = record.get("lease") or {}
        user = f" as {lease['user']}" if lease.get("user") else ""
        route = _route(evidence, record)
        lines.append(
            f"{record.get('action')} on {record.get('resource')}{user}, at {_time(record)}: "
            f"{step}, attempt {at}{f', by {route}' if route else ''}."
        )
        proof.append(
            {**_place(record, at), "tool": record.get("tool"), "resource": record.get("resource"),
             "user": lease.get("user"), "lease": lease.get("id"), "grant": record.get("grant"),
             "chain": record.get("chain"), "digest": record.get("digest"), "outcome": record.get("outcome")}
        )  # fmt: skip
    return lines or ["It changed nothing: no attempt was given a credential or run."], proof


def _route(evidence: Evidence, record: Record) -> str:
    """Return from whom to whom the authority of one attempt went."""
    known = {link.jti: link for link in evidence.links}
    links = [known[jti] for jti in record.get("chain") or () if jti in known]
    return " → ".join([link.iss.short for link in links[:1]] + [link.delegate.short for link in links])


def _all(evidence: Evidence) -> Iterable[tuple[str, int, dict[str, Any]]]:
    for step, tried in evidence.attempts().items():
        for at, record in enumerate(tried, start=1):
            yield step, at, record


def _place(record: Record, at: int) -> dict[str, Any]:
    """Return where a piece of evidence is from."""
    return {"task": record.get("task"), "step": record.get("step"), "attempt": at, "time": _time(record)}


def _capital(step: str) -> str:
    return step[:1].upper() + step[1:]


def _ending(record: Record) -> str:
    outcome = "running" if record.get("outcome") == "permitted" else record.get("outcome")
    return f"{outcome} [{record['code']}]" if record.get("code") else str(outcome)


def _time(record: Record) -> str:
    return moment(float(record.get("began") or record.get("time") or 0))


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)


def _short(spiffe_id: object) -> str:
    text = str(spiffe_id)
    return "/".join(text.rsplit("/", 2)[-2:]) if text.startswith("spiffe://") else text


def _unique(lines: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(lines))
