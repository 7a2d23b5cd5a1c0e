"""The last look at failures: what got past an attempt's own scrubbing leaves no secret in Temporal either."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from temporalio import activity
from temporalio.api.failure.v1 import Failure
from temporalio.client import WorkflowFailureError
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    FailureConverter,
)
from temporalio.exceptions import ApplicationError, CancelledError, TimeoutError, TimeoutType
from temporalio.testing import WorkflowEnvironment

from remit.credentials import current_credential, living
from remit.temporal import RemitPlugin, tool
from remit.temporal._scrubbing import scrubbing
from tests.attacks.canaries import hits
from tests.unit.temporal.authority import SECRET, Keeper
from tests.unit.temporal.conftest import bench, eventually
from tests.unit.temporal.tools import Query

LENT: list[str] = []
"""The secret of the attempt that runs, as a careless program might pass it on within its process."""


@tool(name="data.reluctant", action="dataset:query", resource=lambda query: query.dataset, credential="p")
async def reluctant(query: Query) -> Any:
    """Return what cannot be encoded; the failure arises outside the tool."""
    return {"found": Unencodable(current_credential()["token"])}


@tool(name="data.lends", action="dataset:query", resource=lambda query: query.dataset, credential="p")
async def lends(query: Query) -> Any:
    """Lend the secret to others of this process while it runs."""
    LENT.append(current_credential()["token"])
    try:
        await asyncio.sleep(3)
    finally:
        LENT.clear()


@activity.defn(name="model.call")
async def borrows(prompt: dict[str, Any]) -> str:
    """Carry no authority, and fail with somebody else's secret."""
    await eventually(lambda: asyncio.sleep(0, LENT))
    raise ApplicationError(f"called with {quote(LENT[0])}", {"key": LENT[0]}, non_retryable=True)


class Unencodable:
    """Becomes JSON by a method of its own, as models of some libraries do; that fails and says why."""

    def __init__(self, token: str) -> None:
        self.token = token

    def dict(self) -> Any:
        raise ValueError(f"cannot show postgres://u:{self.token}@h")


async def test_what_fails_outside_its_tool_is_cleaned(server: WorkflowEnvironment, keeper: Keeper) -> None:
    keeper.credentials = True
    async with bench(server, keeper, activities=[reluctant]) as here:
        handle, _ = await here.start("CallsOnce", [["data.reluctant", {"dataset": "flights"}]])
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        history = (await handle.fetch_history()).to_json()
    assert "cannot show postgres://u:[redacted]@h" in history
    assert hits([SECRET], {"history": history}) == []


async def test_an_attempts_secret_is_taken_from_the_failures_of_others(
    server: WorkflowEnvironment, keeper: Keeper
) -> None:
    keeper.credentials = True
    async with bench(server, keeper, activities=[lends, borrows]) as here:
        handle, _ = await here.start("Parallel", [["data.lends", {"dataset": "flights"}], ["model.call", {}]])
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        history = (await handle.fetch_history()).to_json()
    assert "called with [redacted]" in history
    assert hits([SECRET], {"history": history}) == []


async def test_without_the_converter_it_would_be_there(
    server: WorkflowEnvironment, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: this is what Temporal would be given."""
    monkeypatch.setattr("remit.temporal._scrubbing.known", tuple)
    keeper.credentials = True
    async with bench(server, keeper, activities=[lends, borrows]) as here:
        handle, _ = await here.start("Parallel", [["data.lends", {"dataset": "flights"}], ["model.call", {}]])
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert hits([SECRET], {"history": (await handle.fetch_history()).to_json()})


def chained() -> BaseException:
    deepest = OSError(f"libpq: password={SECRET}")
    middle = ApplicationError("x", {"dsn": f"postgres://u:{quote(SECRET)}@h"}, {SECRET: 1}, SECRET, type=SECRET)
    middle.__cause__ = deepest
    outer = RuntimeError(f"Basic {base64.b64encode(f'u:{SECRET}'.encode()).decode()}")
    outer.__cause__ = middle
    return outer


FAILURES: dict[str, Any] = {
    "chain": chained,
    "details": lambda: ApplicationError("x", {"deep": [json.dumps({"p": SECRET})]}),
    "bytes": lambda: ApplicationError("x", SECRET.encode()),
    "cancelled": lambda: CancelledError("x", SECRET),
    "timeout": lambda: TimeoutError(SECRET, type=TimeoutType.HEARTBEAT, last_heartbeat_details=[{"at": SECRET}]),
    "group": lambda: ExceptionGroup(f"several: {SECRET}", [ValueError("x")]),
}


class Own(DefaultFailureConverter):
    """Says more than it should."""

    def to_failure(self, exception: BaseException, payload_converter: Any, failure: Failure) -> None:
        super().to_failure(exception, payload_converter, failure)
        failure.source = "own"
        failure.stack_trace += f"\nlocals: {SECRET}"


@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.parametrize(
    "over", [DefaultFailureConverter, DefaultFailureConverterWithEncodedAttributes, Own], ids=lambda one: one.__name__
)
def test_every_part_of_a_failure_is_cleaned(over: type[FailureConverter], kind: str) -> None:
    converter = DataConverter.default.payload_converter
    bare, clean = Failure(), Failure()
    error = raised(FAILURES[kind]())
    over().to_failure(error, converter, bare)
    assert hits([SECRET], {"failure": bare.SerializeToString()})
    living.begin("grant", (SECRET,))
    try:
        made = scrubbing(over)()
        made.to_failure(error, converter, clean)
    finally:
        living.end("grant")
    assert not hits([SECRET], {"failure": clean.SerializeToString()})
    assert clean.source == bare.source
    made.from_failure(clean, converter)  # can still be read


def test_a_client_gets_it_once_round_its_own_converter() -> None:
    own = DataConverter(failure_converter_class=Own)
    once = RemitPlugin().configure_client({"data_converter": own})  # type: ignore[typeddict-item]
    twice = RemitPlugin().configure_client({**once})  # type: ignore[typeddict-item]
    assert once["data_converter"].failure_converter_class is twice["data_converter"].failure_converter_class
    assert once["data_converter"].failure_converter_class.over is Own  # type: ignore[attr-defined]
    assert once["data_converter"].payload_converter_class is own.payload_converter_class


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught
