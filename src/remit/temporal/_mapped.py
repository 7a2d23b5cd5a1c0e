"""Mapped activities: those of other people's frameworks, read and looked up in the mapping.

- A tool's activity is read as tool calls, a model's as a request to a model, a listing carries no authority.
- What an activity proposes, splits into or tells a model is the framework's form; what it means is the mapping's.
- A tool that runs inside the workflow is decided as a step of Remit's own, before the workflow hears of the proposal.
- All of it is pure: the same wire and the same mapping mean the same, in workflows and in activities.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from remit.errors import Denied, NeedsApproval, Refused, RemitError
from remit.frameworks import Framework, ToolCall, readers
from remit.step import digest
from remit.temporal import _names as names
from remit.temporal._wire import plain, whole
from remit.tool import Use

if TYPE_CHECKING:
    from temporalio.worker import WorkerConfig

    from remit.frameworks import Seen
    from remit.mapping import Mapping as Meaning

_TELLABLE = frozenset(
    {"policy.denied", "delegation.denied", "budget.exceeded", "tool.input", "tool.unmapped", "step.input"}
)
"""Refusals of one call that say nothing against the task itself."""
_AT_ONCE = 100
"""Tool calls a model may make at once; more are refused, for each is several events of the history."""


class Mapped:
    """What a mapping makes of a worker's activities.

    Args:
        meaning: The mapping.
    """

    def __init__(self, meaning: Meaning) -> None:
        self.meaning = meaning
        self.frameworks = readers(meaning)
        self._nobodys = Framework(meaning)
        self._known: dict[str, MappedActivity | None] = {}

    def tool(self, activity: str) -> MappedActivity | None:
        """Return what an activity type means, None when neither a framework nor the mapping knows it."""
        if activity not in self._known:
            self._known[activity] = self._read(activity)
        return self._known[activity]

    def lists(self, activity: str) -> bool:
        """Tell whether an activity only lists what there is."""
        if self.meaning.of_activity(activity) is not None or activity in self.meaning.nodes:
            return False  # the mapping says what it does
        return any(one.kind(activity) == "listing" for one in self.frameworks)

    def learn(self, activities: Sequence[Callable[..., Any]]) -> None:
        """Take in the names of the arguments of activities that are registered here."""
        for one in activities:
            name = getattr(getattr(one, "__temporal_activity_definition", None), "name", None)
            if name:
                for framework in (*self.frameworks, self._nobodys):
                    framework.parameters[name] = tuple(inspect.signature(one).parameters)

    def seen(self, config: WorkerConfig) -> Iterator[Seen]:
        """Return the tools that can be seen when a worker starts."""
        for framework in self.frameworks:
            yield from framework.seen(config)

    def _read(self, activity: str) -> MappedActivity | None:
        if activity == names.INLINE:
            return MappedActivity(activity, self.meaning, self._nobodys, kind="inline")
        for framework in self.frameworks:
            kind = framework.kind(activity)
            if kind in ("tool", "model"):
                return MappedActivity(activity, self.meaning, framework, kind=kind)
        if self.meaning.of_activity(activity) is not None:
            return MappedActivity(activity, self.meaning, self._nobodys, kind="plain")
        return None


class MappedActivity:
    """One activity type, read.

    Args:
        name: Activity type.
        meaning: The mapping.
        framework: Whose activity it is.
        kind: ``tool``, ``model``, ``inline`` (a call inside the workflow), or ``plain``: no framework reads it.
    """

    def __init__(self, name: str, meaning: Meaning, framework: Framework, *, kind: str) -> None:
        self.name = name
        self.framework = framework
        self._meaning = meaning
        self._kind = kind

    @property
    def asks(self) -> bool:
        """Whether it asks a model."""
        return self._kind == "model"

    def use(self, arguments: Sequence[Any]) -> Use:
        """Return what these arguments ask for.

        Raises:
            Refused: ``tool.input``, ``tool.batch``. Denied: ``tool.unmapped``, ``model.unmapped``.
        """
        if self._meaning.of_activity(self.name) is not None:
            whole(arguments)  # its classes are the site's; a framework's own envelope says what it carries
        wire = plain(arguments)
        if self._kind == "model":
            return self._model(wire)
        if self._kind == "plain":
            return self._plain(wire)
        if self._kind == "inline":
            name, given = wire
            return self._of(ToolCall(name, given), inline=True)
        calls = self.framework.calls(self.name, wire)
        if len(calls) != 1:
            raise Refused(
                f"{self.name} makes {len(calls)} tool calls at once",
                code="tool.batch",
                next_action="Run it on a worker whose mapping names it, which makes them one by one.",
            )
        return self._of(calls[0], inline=False)

    def parts(self, arguments: Sequence[Any]) -> list[Sequence[Any]]:
        """Return the arguments of each of several tool calls; nothing where there is one, or what cannot be read."""
        if self._kind != "tool":
            return []
        try:
            wire = plain(arguments)
            count = len(self.framework.calls(self.name, wire))
            if not 1 < count <= _AT_ONCE:
                return []
            return [self.framework.part(self.name, wire, number) for number in range(count)]
        except RemitError:
            return []  # refused where it is decided and recorded

    def joined(self, results: Sequence[Any]) -> Any:
        """Return the results of all parts as one, as JSON.

        Raises:
            Refused: They cannot be put together.
        """
        return self.framework.joined(self.name, plain(results))

    def hosted(self, arguments: Sequence[Any]) -> list[ToolCall]:
        """Return the tools that a model's provider would run by itself; nothing where the request cannot be read."""
        try:
            return list(self.framework.hosted(self.name, plain(arguments)))
        except RemitError:
            return []  # refused where it is decided and recorded

    def inline(self, result: Any) -> list[ToolCall]:
        """Return those tool calls a model proposes that will run inside the workflow.

        Raises:
            Refused: ``tool.input``, or ``tool.batch`` for too many.
        """
        proposed = self.framework.proposed(self.name, plain([result])[0])
        found = [call for call in proposed if call.server is None and self._inline(call.name)]
        if len(found) > _AT_ONCE:
            raise Refused(
                f"{self.name} proposes {len(found)} tool calls inside the workflow at once",
                code="tool.batch",
                next_action=f"At most {_AT_ONCE} are decided at once.",
            )
        return found

    def told(self, arguments: Sequence[Any], facts: Mapping[str, Any]) -> Any:
        """Return the result by which the model reads a refusal, as JSON."""
        message = f"Refused: {facts.get('message', '')} [{facts.get('code', '')}]"
        return self.framework.told(self.name, plain(arguments), message)

    def tells(self, error: RemitError) -> bool:
        """Tell whether the model is to hear of an error, and the agent to go on."""
        return (
            self._kind == "tool"
            and self._meaning.on_denied == "continue"
            and (isinstance(error, NeedsApproval) or error.code in _TELLABLE)
        )

    def failed(self, result: Any) -> bool:
        """Tell whether a result says that the tool failed."""
        return self._kind == "tool" and self.framework.failed(self.name, plain([result])[0])

    def ready(self, arguments: Sequence[Any], *, name: str) -> Sequence[Any]:
        """Return the arguments as the activity is to get them in one attempt."""
        return self.framework.ready(self.name, arguments, name=name) if self._kind == "tool" else arguments

    def _inline(self, tool: str) -> bool:
        rule = self._meaning.tools.get(tool)
        return rule is not None and rule.inline

    def _of(self, call: ToolCall, *, inline: bool) -> Use:
        shown = f"{call.server}.{call.name}" if call.server else call.name
        rule = self._meaning.tool(call.name, server=call.server, other=call.other)
        if rule is None or (call.server is None and self._inline(call.name) != inline):
            raise Denied(
                f"the mapping knows no tool {shown[:200]!r} that runs here",
                code="tool.unmapped",
                next_action="Say in the mapping what it does, or use another.",
            )
        return rule.use(shown, call.arguments)

    def _plain(self, wire: Sequence[Any]) -> Use:
        found = self._meaning.of_activity(self.name)
        if found is None:
            raise Denied(f"the mapping does not know {self.name!r}", code="tool.unmapped")
        name, rule = found
        return rule.use(name, self.framework.named(self.name, wire))

    def _model(self, wire: Sequence[Any]) -> Use:
        asked = self.framework.model(self.name, wire)
        rule = self._meaning.model(asked.model)
        if rule is None:
            raise Denied(
                f"the mapping knows no model {asked.model[:200]!r}",
                code="model.unmapped",
                next_action="Say under [models] which model of the catalogue it is.",
            )
        given = {**asked.settings, "model": asked.model, "offers": list(asked.offers), "request": digest(wire)}
        return rule.use(asked.model or "model", given)
