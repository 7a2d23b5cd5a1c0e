"""What people see of a task: the JSON of `remit show`, and the Markdown of the Temporal UI.

- Everything here is for display; no decision is made from it.
- Bounded: the latest 100 steps, 64 waiting requests, 200 children.
- Text from tools and people is escaped before it stands in Markdown. What is shortened says so, and where all of it is.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from remit.errors import InvalidDocument
from remit.principals import Principal
from remit.step import shown

KEPT_STEPS = 100
KEPT_CHILDREN = 200
_SHOWN_INPUT = 2_000
_SHOWN_REQUESTS = 8
_SHOWN_TEXT = 200
_MARKUP = re.compile(r"[\\`*_\[\]<>|#!~&:@]|(?<=www)\.", re.IGNORECASE)
"""What could begin Markdown, HTML, an entity or a link that nobody wrote as one."""


@dataclass(slots=True)
class StepView:
    """One step as people see it; ``state`` is running, waiting-approval, held, stopped, done, failed, refused or
    unknown: it may have been done, and is not begun again."""

    n: int
    tool: str
    action: str = ""
    resource: str = ""
    state: str = "running"
    code: str = ""
    policies: list[str] = field(default_factory=list)
    agent: str = ""
    """SPIFFE ID of the agent it is a step of, if not the task's own."""

    def begin(self) -> None:
        """It was scheduled."""
        self.state, self.code, self.policies = "running", "", []

    def wait_for(self, request: Mapping[str, Any]) -> None:
        """It waits for people."""
        self.state, self.code = "waiting-approval", "approval.needed"
        self.policies = _texts(request.get("policies"))

    def end(self, kind: str, facts: Mapping[str, Any]) -> None:
        """It failed; ``kind`` is empty when the tool itself did."""
        self.code = str(facts.get("code", ""))
        self.state = "unknown" if self.code == "step.once" else "refused" if kind == "Refused" else "failed"
        self.policies = _texts(facts.get("policies"))

    @property
    def called(self) -> str:
        """The tool, and by whom, if not by the task's own agent."""
        return f"{self.tool} by {_name(self.agent)}" if self.agent else self.tool

    @property
    def verdict(self) -> str:
        """What was decided, and by which policies, as far as the workflow knows: a tool ran only if permitted."""
        return "permit" if self.state == "done" else " ".join([self.code, *self.policies]).strip()

    def to_json(self) -> dict[str, Any]:
        """Return its entry among ``steps``; attempts are the audit log's to add."""
        entry: dict[str, Any] = {
            "n": self.n,
            "tool": self.tool,
            "action": self.action,
            "resource": self.resource,
            "state": self.state,
            "attempts": [],
        } | ({"agent": self.agent} if self.agent else {})
        return entry | ({"code": self.code, "policies": self.policies} if self.code else {})


@dataclass(slots=True)
class View:
    """What is shown of a task."""

    task: str = ""
    run_id: str = ""
    state: str = "running"
    delegation: str = ""
    root: str = ""
    agent: str = ""
    purpose: str = ""
    chain: list[dict[str, Any]] = field(default_factory=list)
    steps: deque[StepView] = field(default_factory=lambda: deque(maxlen=KEPT_STEPS))
    waiting: list[Mapping[str, Any]] = field(default_factory=list)
    children: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_CHILDREN))
    others: list[dict[str, Any]] = field(default_factory=list)
    """Other agents that act in the task now: ``{"agent", "delegation", "status"}``."""
    stopped: Mapping[str, Any] | None = None
    result: Any = None
    error: Mapping[str, Any] | None = None

    def adopt(self, standing: Mapping[str, Any]) -> None:
        """Take over what `remit.status` found; an unreadable chain keeps what was known of it."""
        self.root = standing.get("root") or self.root
        self.agent = standing.get("agent") or self.agent
        self.purpose = standing.get("purpose") or self.purpose
        self.chain = list(standing.get("links") or self.chain)

    @property
    def acting(self) -> str:
        """Who acts for whom, as summaries say it: ``as alice → flight-analyst``."""
        return self.acting_with("")

    def acting_with(self, agent: str) -> str:
        """Return `acting` for another agent's name; empty means the task's own."""
        names = [_name(self.root) if self.root else "", agent or (_name(self.agent) if self.agent else "")]
        return f"as {' → '.join(filter(None, names))}" if any(names) else ""

    def to_json(self) -> dict[str, Any]:
        """Return what `remit show --json` prints."""
        return {
            "task": self.task,
            "run_id": self.run_id,
            "state": self.state,
            "delegation": self.delegation,
            "root": self.root,
            "agent": self.agent,
            "purpose": self.purpose,
            "chain": self.chain,
            "steps": [step.to_json() for step in self.steps],
            "waiting": dict(self.waiting[0]) if self.waiting else None,
            "also_waiting": [dict(request) for request in self.waiting[1:]],
            "stopped": dict(self.stopped) if self.stopped else None,
            "children": list(self.children),
            "result": self.result,
            "error": dict(self.error) if self.error else None,
        } | ({"others": self.others} if self.others else {})

    def to_markdown(self) -> str:
        """Return the current details of the Temporal UI."""
        lines = [f"**{self.state}** · {_text(self.acting)} · {_text(self.purpose)}"]
        if self.stopped:
            lines += ["", f"**Stopped:** {_text(str(self.stopped.get('message', '')))}"]
            if self.stopped.get("waits_for"):
                lines += ["", f"**Waits for** {self.stopped['waits_for']} **until** {self.stopped['until']}"]
        for request in self.waiting[:_SHOWN_REQUESTS]:
            lines += [
                "",
                f"**Waits for {_text(', '.join(map(str, request['approvers'])))}:** "
                f"{_text(request['action'])} on {_text(request['resource'])}, request `{_code(request['request'])}`",
                *_input(shown(request["input"])),
            ]
        if more := len(self.waiting) - _SHOWN_REQUESTS:
            lines += ["", f"**{more} more wait;** `remit approvals` shows all."] if more > 0 else []
        if self.chain:
            lines += ["", "| from | to | status | expires | delegation |", "|---|---|---|---|---|"]
            lines += [
                f"| {_name(link['from'])} | {_name(link['to'])} | {link['status']} | {link['expires_at']} "
                f"| `{link['delegation']}` |"
                for link in self.chain
            ]
        if self.others:
            lines += ["", "| acts in it | status | delegation |", "|---|---|---|"]
            lines += [f"| {_name(one['agent'])} | {one['status']} | `{one['delegation']}` |" for one in self.others]
        if self.steps:
            lines += ["", "| step | tool | resource | state | verdict |", "|---|---|---|---|---|"]
            lines += [
                f"| {step.n} | {_text(step.called)} | {_text(step.resource)} | {step.state} | {_text(step.verdict)} |"
                for step in list(self.steps)[-10:]
            ]
        return "\n".join(lines)


@lru_cache(maxsize=1024)
def _name(spiffe_id: str) -> str:
    try:
        return Principal.parse(spiffe_id).name
    except InvalidDocument:
        return _text(spiffe_id)


def _input(text: str) -> list[str]:
    """Return the lines of a request's input; a long one is cut, which is said before it."""
    if len(text) <= _SHOWN_INPUT:
        return ["", f"```\n{text}\n```"]
    told = f"**Shortened: {_SHOWN_INPUT} of {len(text)} characters.** Decide only on all of it: `remit approvals`"
    return ["", told, "", f"```\n{text[:_SHOWN_INPUT]} …\n```"]


def _code(value: object) -> str:
    """Return text as it can stand between backticks, where nothing needs escaping but they."""
    return shown(str(value)[:_SHOWN_TEXT])[1:-1]


def _text(value: object) -> str:
    """Return text that cannot act as Markdown or HTML."""
    text = str(value)
    plain = shown(text[:_SHOWN_TEXT])[1:-1]
    escaped = _MARKUP.sub(r"\\\g<0>", plain)
    return escaped if len(text) <= _SHOWN_TEXT else f"{escaped} …"


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list | tuple) else []
