"""`RemitPlugin`: added to a Temporal client, it governs what is started there and what its workers run.

- Give it to `Client.connect`; workers made from that client have it too. Giving it to both does the work once.
- Without an authority it starts and reads tasks (a command line, a web server); such a process runs no governed worker.
- A worker refuses to start when something it registers is neither governed nor listed as ungoverned, or when what
  governs it was removed by another plugin.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

from temporalio.client import ClientConfig
from temporalio.converter import DataConverter
from temporalio.plugin import SimplePlugin
from temporalio.worker import (
    ActivityInboundInterceptor,
    Interceptor,
    ReplayerConfig,
    Worker,
    WorkerConfig,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from remit.errors import Usage
from remit.mapping import Mapping
from remit.temporal import _names as names
from remit.temporal import workflow as acts
from remit.temporal._activity import ActivityInbound
from remit.temporal._client import ClientInterceptor
from remit.temporal._internal import Internal
from remit.temporal._mapped import Mapped
from remit.temporal._parts import Authority, Describes, Facts, Presenter
from remit.temporal._registered import check
from remit.temporal._runs import Runs
from remit.temporal._scrubbing import scrubbing
from remit.temporal._workflow import Inbound
from remit.temporal.tool import declared_by

NAME = "remit.Plugin"
_BEAT_AT_LEAST = timedelta(seconds=1)
_DECLARED = ("name", "use")
_SHARED = ("remit", "beartype")
"""Modules the sandbox does not import anew. beartype, which FastMCP brings, is asked at every import of its process,
and would itself be imported again for every run: 0.2 s of CPU a run became 2 to 5 s."""


class RemitPlugin(SimplePlugin):
    """Governs a client and its workers.

    Args:
        authority: Decides and mints; None in a process that only starts and reads tasks.
        presenter: Signs for the agents that run here.
        tools: Declarations of activities that do not carry one themselves (`@tool` functions need none).
        ungoverned: Activity and workflow types that carry no authority; ``*`` stands for any text.
        mapping: What the tools, models and agents of other people's frameworks mean.
        watch: Seconds between looks at the chain of a running attempt.
        heartbeat: Heartbeat timeout of governed activities that set none: how soon a dead worker is noticed.
        search_attributes: Whether tasks are given `remit.temporal.SEARCH_ATTRIBUTES`; the namespace must have them.

    Example:
        client = await Client.connect(address, plugins=[RemitPlugin(authority=authority, presenter=presenter)])
        worker = Worker(client, task_queue="agents", workflows=[MyAgent], activities=[query])
    """

    def __init__(
        self,
        *,
        authority: Authority | None = None,
        presenter: Presenter | None = None,
        tools: Sequence[Describes] = (),
        ungoverned: Sequence[str] = (),
        mapping: Mapping | None = None,
        watch: float = 1.0,
        heartbeat: timedelta = timedelta(seconds=10),
        search_attributes: bool = True,
    ) -> None:
        super().__init__(NAME)
        if (authority is None) != (presenter is None):
            raise Usage(
                "an authority needs a presenter, and a presenter an authority",
                code="plugin.parts",
                next_action="Give the plugin both, or neither.",
            )
        self._parts = (authority, presenter) if authority is not None and presenter is not None else None
        for one in tools:
            _require_complete(one)
        self._tools = {one.name: one for one in tools}
        self._ungoverned = (*ungoverned, *(mapping.ungoverned if mapping else ()))
        self._mapping = mapping
        self._watch = watch
        self._heartbeat = heartbeat
        self._client = ClientInterceptor(
            governs=lambda name: not names.matches(name, self._ungoverned), search_attributes=search_attributes
        )

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        """Put delegations on what the client starts, and take secrets from the failures it converts."""
        converter = config.get("data_converter") or DataConverter.default
        failures = scrubbing(converter.failure_converter_class)
        config["data_converter"] = dataclasses.replace(converter, failure_converter_class=failures)
        present = list(config.get("interceptors") or [])
        if not any(isinstance(one, ClientInterceptor) for one in present):
            config["interceptors"] = [self._client, *present]
        return config

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Govern a worker's activities and workflows."""
        runner = config.get("workflow_runner")
        if isinstance(runner, SandboxedWorkflowRunner):
            config["workflow_runner"] = _passing(runner)
        present = list(config.get("interceptors") or [])
        if self._parts is None or any(isinstance(one, Governing) for one in present):
            return config
        activities = list(config.get("activities") or [])
        facts, runs = self._facts(activities), Runs(config["client"])
        check(config, facts)
        config["activities"] = [*activities, *Internal(*self._parts, runs=runs, mapping=facts.mapping).activities]
        governing = Governing(facts, self._parts, runs=runs, watch=self._watch)
        config["interceptors"] = [governing, *_besides(facts), *present]
        # How soon a running activity hears that it is to stop, where the server cannot tell the worker itself.
        for option in ("max_heartbeat_throttle_interval", "default_heartbeat_throttle_interval"):
            usual: Any = config.get(option)
            config[option] = min(usual or _BEAT_AT_LEAST, _BEAT_AT_LEAST)
        return config

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        """Replay with the same interceptors; nothing is asked and nothing is run."""
        present = list(config.get("interceptors") or [])
        if not any(isinstance(one, WorkerInterceptor) for one in present):
            facts = self._facts(())
            config["interceptors"] = [WorkerInterceptor(facts), *_besides(facts), *present]
        runner = config.get("workflow_runner")
        if isinstance(runner, SandboxedWorkflowRunner):
            config["workflow_runner"] = _passing(runner)
        return config

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        """Check once more before the worker runs: other plugins may have added activities, or removed what governs."""
        try:
            self._require_governed(worker.config(active_config=True))
        except Usage:
            # Nothing was started. Unless the worker is told so, `async with` waits for its end for ever.
            if (ended := getattr(worker, "_shutdown_complete_event", None)) is not None:
                ended.set()
            raise
        await next(worker)

    def _require_governed(self, config: WorkerConfig) -> None:
        governing = [one for one in config.get("interceptors") or [] if isinstance(one, Governing)]
        if self._parts is None and not governing:
            raise Usage(
                "a worker needs an authority and a presenter",
                code="plugin.no-authority",
                next_action="Give them to the RemitPlugin, or use a client without it.",
            )
        if not governing:
            raise Usage(
                "another plugin removed the interceptor that governs this worker",
                code="plugin.removed",
                next_action="Have that plugin add to the worker's interceptors, not replace them.",
            )
        check(config, governing[0].facts)

    def _facts(self, activities: Iterable[object]) -> Facts:
        declared = {found.name: found for one in activities if (found := declared_by(one)) is not None}
        mapped = Mapped(self._mapping) if self._mapping else None  # one a worker: it learns what that one registers
        return Facts({**declared, **self._tools}, self._ungoverned, self._heartbeat, mapped)


class WorkerInterceptor(Interceptor):
    """Governs the workflows of a worker, or replays them."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._workflow = type("RemitInbound", (Inbound,), {"facts": facts, "__doc__": Inbound.__doc__})

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        """Wrap every workflow."""
        return self._workflow


class Governing(WorkerInterceptor):
    """Governs one worker."""

    def __init__(self, facts: Facts, parts: tuple[Authority, Presenter], *, runs: Runs, watch: float) -> None:
        super().__init__(facts)
        self._authority, self._presenter = parts
        self._runs = runs
        self._watch = watch

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap one attempt."""
        return ActivityInbound(
            next,
            facts=self.facts,
            authority=self._authority,
            presenter=self._presenter,
            runs=self._runs,
            watch=self._watch,
        )


def _besides(facts: Facts) -> list[Interceptor]:
    """Return what frameworks need besides, to see what no activity shows."""
    frameworks = facts.mapped.frameworks if facts.mapped else ()
    for framework in frameworks:
        framework.acts = acts
    return [one for framework in frameworks for one in framework.interceptors()]


def _require_complete(tool: Describes) -> None:
    """Refuse a declaration that would only be found wanting when its activity runs.

    Raises:
        Usage: ``tool.declaration``.
    """
    missing = [member for member in _DECLARED if not hasattr(tool, member)]
    if missing:
        raise Usage(
            f"{type(tool).__name__} does not declare {', '.join(missing)}",
            code="tool.declaration",
            next_action="Use remit.tool.Tool, or give it every member of remit.temporal's Describes.",
        )


def _passing(runner: SandboxedWorkflowRunner) -> SandboxedWorkflowRunner:
    return dataclasses.replace(runner, restrictions=runner.restrictions.with_passthrough_modules(*_SHARED))
