"""Pollers: whether a worker asks Temporal for work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

if TYPE_CHECKING:
    from temporalio.client import Client

_KINDS = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)


async def polled(client: Client, queue: str, *, since: float) -> bool:
    """Tell whether somebody asked for workflows and for activities of a task queue since then.

    Args:
        since: Unix seconds.

    Raises:
        temporalio.service.RPCError: Temporal did not answer.
    """
    for kind in _KINDS:
        answer = await client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind)
        )
        # the server's clock may be a little behind ours
        if not any(one.last_access_time.ToDatetime().timestamp() >= since - 1 for one in answer.pollers):
            return False
    return True
