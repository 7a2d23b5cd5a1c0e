"""Runs: which execution a run belongs to, in Temporal's own words.

- A header's word for it is a claim: whoever may start workflows can copy one, terminate the task it was copied from,
  and start something else under its id.
- The first run needs no question, for the run of an attempt is Temporal's word already. A run that continues another,
  or a reset, is asked about once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest
from temporalio.service import RPCError, RPCStatusCode

from remit.errors import Held, Refused

if TYPE_CHECKING:
    from temporalio.client import Client

_KEPT = 10_000


class Runs:
    """Knows the first run of every run it was asked about.

    Args:
        client: The worker's.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._first: dict[str, str] = {}

    async def require(self, *, task: str, run: str, first_run: str) -> None:
        """Return only if this run of this workflow belongs to the execution that began with `first_run`.

        Raises:
            Refused: ``delegation.other-task``. Held: Temporal did not answer.
        """
        if first_run == run:
            return
        if run not in self._first:
            found = await self._asked(task, run)
            while len(self._first) >= _KEPT:
                self._first.pop(next(iter(self._first)))
            self._first[run] = found
        if self._first[run] != first_run:
            raise Refused(
                "this is not a run of the execution it says it continues",
                code="delegation.other-task",
                next_action="Delegate for this task.",
            )

    async def _asked(self, task: str, run: str) -> str:
        client = self._client
        asked = DescribeWorkflowExecutionRequest(
            namespace=client.namespace, execution=WorkflowExecution(workflow_id=task, run_id=run)
        )
        try:
            told = await client.workflow_service.describe_workflow_execution(asked, retry=True)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return ""
            raise Held(
                f"Temporal does not tell which execution {task} is",
                code="temporal.unreachable",
                next_action="It is tried again.",
            ) from error
        return told.workflow_execution_info.first_run_id
