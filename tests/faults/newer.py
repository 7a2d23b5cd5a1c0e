"""The next build of the service's workflow: it goes on with tasks that the build before it began."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

from workflows.agent_task import NAME, AgentTask, Task


@workflow.defn(name=NAME)
class Newer(AgentTask):
    """One task of one agent, as of the next version."""

    @workflow.run
    async def run(self, task: Task) -> dict[str, Any]:
        """Work through the plan; a task begun by this version says so in its result."""
        fresh = workflow.patched("newer")
        return {**await super().run(task), "newer": fresh}
