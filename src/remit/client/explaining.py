"""Explaining a task: five questions, answered from evidence. Pure.

1. Which identity acted?  2. With what authority, and why that much?  3. Who approved?
4. Why did it run, and why again hours later?  5. What triggered this downstream change?

- Every sentence rests on a signed delegation or an audit record, named beside it; what is not known is said to be so.
- The scopes come from the verified chain, never from what the workflow says of itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from remit.client.attempts import Record, by_step, moment
from remit.delegation import Delegation

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
        records: Its audit records, in order of time.
        step: The only step asked about; None: all.
    """

    view: Mapping[str, Any]
    links: Sequence[Delegation]
    records: Sequence[Record]
    step: int | None = None

    def attempts(self) -> dict[int, list[dict[str, Any]]]:
        """Return the attempts of the steps asked about."""
        found = by_step(self.records)
        return found if self.step is None else {n: tried for n, tried in found.items() if n == self.step}


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
            "step": number,
            "attempt": at,
            "time": _time(record),
            "agent": record.get("agent"),
            "root": record.get("root"),
            "run": record.get("run"),
            "activity": record.get("activity"),
            "lease": (record.get("lease") or {}).get("id"),
            "user": (record.get("lease") or {}).get("user"),
        }
        for number, at, record in _all(evidence)
    ]
    if not proof:
        return ["Nothing has acted yet: no attempt is on record."], []
    pairs = _unique((one["agent"], one["root"]) for one in proof if one["agent"])
    lines = [f"{_short(agent)} acted, for {_short(root)}." for agent, root in pairs]
    lines += [
        f"In the database it was {one['user']}, a user made for step {one['step']} alone."
        for one in proof
        if one["user"]
    ]
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
    for number, _, record in _all(evidence):
        policies = list(record.get("policies") or ())
        if record.get("verdict"):
            word = {"permit": "permitted", "deny": "denied", "needs-approval": "held for approval"}.get(
                str(record["verdict"]), str(record["verdict"])
            )
            by = _listed(policies) if policies else "no policy"
            lines.append(f"Step {number}, {record.get('action')} on {record.get('resource')}, was {word} by {by}.")
            proof.append(
                {"step": number, "time": _time(record), "verdict": record["verdict"], "policies": policies,
                 "policy_set": record.get("policy_set"), "arguments": record.get("arguments")}
            )  # fmt: skip
        elif record.get("code"):
            lines.append(f"Step {number} was refused: {record.get('message') or ''} [{record['code']}].")
    return _unique(lines) or ["Its chain is not known here."], proof


def _approval(evidence: Evidence) -> Answer:
    lines: list[str] = []
    proof: list[dict[str, Any]] = []
    for number, at, record in _all(evidence):
        if record.get("code") == "approval.needed":
            lines.append(f"Step {number} needed a person, by {_listed(list(record.get('policies') or ()))}.")
        for approval in record.get("approvals") or ():
            lines.append(f"{_short(approval.get('by'))} approved step {number}, with exactly these arguments.")
            proof.append(
                {"step": number, "attempt": at, "approval": approval.get("id"), "by": approval.get("by"),
                 "arguments": record.get("arguments")}
            )  # fmt: skip
        if record.get("code") == "approval.rejected":
            lines.append(f"Step {number} was rejected: {record.get('message')}.")
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
    for record in evidence.records:
        if record.get("event") == "resumed":
            lines.append(
                f"It went on at {_time(record)} because {_short(record.get('root'))} delegated anew "
                f"in place of {record.get('replaces')}."
            )
            proof.append({"event": "resumed", "time": _time(record), "chain": record.get("chain")})
    for number, tried in evidence.attempts().items():
        for at, (before, record) in enumerate(zip([None, *tried], tried, strict=False), start=1):
            why = "the plan's next step" if before is None else _again(before, record)
            lines.append(f"Step {number}, attempt {at}, {_time(record)}: {why}; it ended {_ending(record)}.")
            proof.append(
                {"step": number, "attempt": at, "time": _time(record), "activity": record.get("activity"),
                 "outcome": record.get("outcome"), "code": record.get("code")}
            )  # fmt: skip
    return lines or ["It has not run."], proof


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
    for number, at, record in _all(evidence):
        if record.get("outcome") not in ("ok", "permitted", "error", "cancelled", "stopped"):
            continue
        lease = record.get("lease") or {}
        user = f" as {lease['user']}" if lease.get("user") else ""
        route = _route(evidence, record)
        lines.append(
            f"{record.get('action')} on {record.get('resource')}{user}, at {_time(record)}: "
            f"step {number}, attempt {at}, of this task{f', by {route}' if route else ''}."
        )
        proof.append(
            {"step": number, "attempt": at, "tool": record.get("tool"), "resource": record.get("resource"),
             "user": lease.get("user"), "lease": lease.get("id"), "grant": record.get("grant"),
             "chain": record.get("chain"), "digest": record.get("digest"), "outcome": record.get("outcome")}
        )  # fmt: skip
    return lines or ["It changed nothing: no attempt was given a credential or run."], proof


def _route(evidence: Evidence, record: Record) -> str:
    """Return from whom to whom the authority of one attempt went."""
    known = {link.jti: link for link in evidence.links}
    links = [known[jti] for jti in record.get("chain") or () if jti in known]
    return " → ".join([link.iss.short for link in links[:1]] + [link.delegate.short for link in links])


def _all(evidence: Evidence) -> Iterable[tuple[int, int, dict[str, Any]]]:
    for number, tried in sorted(evidence.attempts().items()):
        for at, record in enumerate(tried, start=1):
            yield number, at, record


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
