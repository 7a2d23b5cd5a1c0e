"""Runs of OpenAI agents: they are looked at inside the workflow, before a model is asked.

- Agents are made by workflow code, so they are seen only when they run: at the start, before each request to the model,
  and before each tool; those they hand off to and those that are tools of theirs as well.
- An agent that is listed under ``agents`` acts under what it is handed there, from its first request to its last tool.
- A model is asked in a run that was looked at, and nowhere else.
"""

from __future__ import annotations

from contextlib import ExitStack
from contextvars import ContextVar, copy_context
from typing import Any

from temporalio import workflow
from temporalio.worker import (
    ExecuteWorkflowInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    StartActivityInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from remit.errors import Usage
from remit.frameworks.openai_agents import MODELS
from remit.frameworks.reading import Acts
from remit.mapping import Mapping

try:
    from agents import RunHooks, RunState
    from agents.lifecycle import RunHooksBase
    from agents.run import AgentRunner, get_default_agent_runner, set_default_agent_runner
    from temporalio.openai_agents._openai_runner import TemporalOpenAIRunner

    from remit.frameworks.openai_agents_look import Look, refuse, require_known
except ImportError as error:
    raise Usage(
        f"OpenAI agents cannot be governed here: {error}",
        code="framework.missing",
        next_action="Install the releases that docs/guides/openai-agents.md names, or take them out of the mapping.",
    ) from None

_GOVERNED: ContextVar[tuple[Mapping, Acts] | None] = ContextVar("remit_openai_agents", default=None)
_RUN: ContextVar[str | None] = ContextVar("remit_openai_agents_run", default=None)
"""The agent that the run began with which code is in."""


def interceptors(mapping: Mapping, acts: Acts) -> list[Interceptor]:
    """Return what looks at the agents of a worker's workflows.

    Args:
        mapping: What their tools mean.
        acts: Has other agents act.

    Raises:
        Usage: ``framework.unknown`` when this release of the framework cannot be looked into.
    """
    require_known()
    return [Runs(mapping, acts)]


class Runs(Interceptor):
    """Looks at the agents of a worker's workflows.

    Args:
        mapping, acts: As of `interceptors`.
    """

    def __init__(self, mapping: Mapping, acts: Acts) -> None:
        self._workflow = type("RunsInbound", (_Inbound,), {"governed": (mapping, acts)})

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        """Wrap every workflow."""
        return self._workflow


class _Inbound(WorkflowInboundInterceptor):
    governed: tuple[Mapping, Acts]

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        self._begin()
        return await self.next.execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        self._begin()
        await self.next.handle_signal(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        self._begin()
        return await self.next.handle_update_handler(input)

    def _begin(self) -> None:
        """Have what this task runs looked at; the runner is the process's, so whoever came last has set it."""
        _GOVERNED.set(self.governed)
        runner = get_default_agent_runner()
        if not isinstance(runner, Looking):
            set_default_agent_runner(Looking(runner))


class _Outbound(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        if input.activity in MODELS and _RUN.get() is None:
            refuse(
                "a model is asked outside a run whose agents were looked at",
                code="agent.unseen",
                next_action="Run agents with Runner.run or Runner.run_streamed, and set no runner of your own.",
            )
        return self.next.start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:
        if input.activity in MODELS:
            refuse(
                "a model is asked by a local activity, which nobody can stop",
                code="model.local",
                next_action="Leave use_local_activity out of the ModelActivityParameters.",
            )
        return self.next.start_local_activity(input)


class Looking(AgentRunner):
    """Runs agents of governed workflows after it looked at them, and all others as before.

    Args:
        runner: Who runs them.
    """

    def __init__(self, runner: AgentRunner) -> None:
        self.runner = runner

    async def run(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:
        """Run an agent."""
        acts = self._looks(starting_agent, input, kwargs)
        if acts is None:
            return await self.runner.run(starting_agent, input, **kwargs)
        outer = _RUN.get()
        _RUN.set(starting_agent.name)
        try:
            with acts.scope():
                return await self.runner.run(starting_agent, input, **kwargs)
        finally:
            _RUN.set(outer)  # set back, not reset: a workflow that is evicted is closed in another context

    def run_sync(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:
        """Run an agent; never in a workflow."""
        return self.runner.run_sync(starting_agent, input, **kwargs)

    def run_streamed(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:
        """Run an agent and stream what it does, in a task of the event loop that takes on what stands here."""
        acts = self._looks(starting_agent, input, kwargs)
        if acts is None:
            return self.runner.run_streamed(starting_agent, input, **kwargs)
        return copy_context().run(self._streams, acts, starting_agent, input, kwargs)

    def _streams(self, acts: Acts, agent: Any, input: Any, options: dict[str, Any]) -> Any:
        _RUN.set(agent.name)
        with ExitStack() as stack:
            stack.enter_context(acts.scope())
            result = self.runner.run_streamed(agent, input, **options)
            if (running := result.run_loop_task) is not None:
                left = stack.pop_all()
                running.add_done_callback(lambda _: left.close())
            return result

    def _looks(self, agent: Any, input: Any, options: dict[str, Any]) -> Acts | None:
        """Look at a run that is about to begin, and have it looked at as it goes on; None where nobody governs."""
        governed = _GOVERNED.get() if workflow.in_workflow() else None
        if governed is None:
            return None
        if not isinstance(self.runner, TemporalOpenAIRunner):
            refuse(
                "agents run here without the OpenAIAgentsPlugin",
                code="agent.unseen",
                next_action="Add the OpenAIAgentsPlugin to the worker, and set no runner of your own.",
            )
        mapping, acts = governed
        outer = _RUN.get()
        look = Look(mapping, first=agent.name if outer is None else outer)
        if outer is not None:
            look.other(agent.name, outer)
        look.agent(agent)
        if isinstance(input, RunState) and look.inline:
            refuse(
                f"a run that goes on from a state may make calls of {look.inline[0]!r} that nobody decided",
                code="tool.inline",
                next_action="Make the tool an activity, or begin a new run.",
            )
        others = options.get("hooks")
        if isinstance(others, RunHooksBase | None):  # anything else the framework refuses
            options["hooks"] = _Hooks(look, others, mapping=mapping, acts=acts)
        return acts


class _Hooks(RunHooks[Any]):
    """Looks at what a run came to have since it began, says who acts, and calls the run's own hooks."""

    def __init__(self, look: Look, others: RunHooksBase[Any, Any] | None, *, mapping: Mapping, acts: Acts) -> None:
        self._look = look
        self._others: RunHooksBase[Any, Any] = others or RunHooks()
        self._mapping = mapping
        self._acts = acts
        self._acting: str | None = None

    async def on_agent_start(self, context: Any, agent: Any) -> None:
        await self._acts_now(agent)
        await self._others.on_agent_start(context, agent)

    async def on_agent_end(self, context: Any, agent: Any, output: Any) -> None:
        await self._others.on_agent_end(context, agent, output)

    async def on_llm_start(self, context: Any, agent: Any, system_prompt: Any, input_items: Any) -> None:
        self._look.agent(agent)
        await self._acts_now(agent)
        await self._others.on_llm_start(context, agent, system_prompt, input_items)

    async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
        await self._others.on_llm_end(context, agent, response)

    async def on_handoff(self, context: Any, from_agent: Any, to_agent: Any) -> None:
        self._look.other(to_agent.name, from_agent.name)
        await self._others.on_handoff(context, from_agent, to_agent)

    async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
        self._look.tool(tool, agent.name)
        await self._acts_now(agent)
        await self._others.on_tool_start(context, agent, tool)

    async def on_tool_end(self, context: Any, agent: Any, tool: Any, result: Any) -> None:
        await self._others.on_tool_end(context, agent, tool, result)

    async def _acts_now(self, agent: Any) -> None:
        """Have the agent act that the run has come to; one that is handed nothing acts as who began it."""
        wanted = agent.name if self._mapping.agent(agent.name) is not None else None
        if wanted != self._acting:
            await self._acts.hand_over(wanted)
            self._acting = wanted
