"""Where a credential is read as it is: variables, keys, a reference, a connection string."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from langchain_core.load import dumps
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import InjectedToolArg, StructuredTool
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import TypeAdapter
from pydantic_ai import Agent, RunContext
from pydantic_ai.models.test import TestModel
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter

from remit.delivery import Current, api_key, aws, environment, postgres, sync_api_key
from remit.errors import Refused
from remit.frameworks import langchain

from .conftest import SECRET, attempt

READINGS: dict[str, Callable[[], Any]] = {
    "environment": lambda: environment({"KEY": "token"})["KEY"],
    "sync_api_key": sync_api_key(),
    "api_key": api_key(),
    "Current": lambda: Current()["token"],
    "dsn": postgres.dsn,
    "connect": postgres.connect,
    "connect_async": postgres.connect_async,
    "aws": aws.Live().get_frozen_credentials,
    "aws token": lambda: aws.Live().token,
}


async def read(place: str) -> Any:
    found = READINGS[place]()
    return await found if inspect.isawaitable(found) else found


@pytest.mark.parametrize("place", READINGS)
async def test_there_is_none_outside_an_attempt_and_after_it(place: str) -> None:
    with pytest.raises(Refused) as before:
        await read(place)
    with attempt():
        pass
    with pytest.raises(Refused) as after:
        await read(place)
    assert (before.value.code, after.value.code) == ("credential.none", "credential.none")


@pytest.mark.parametrize("place", ["environment", "sync_api_key", "api_key", "Current"])
async def test_each_attempt_finds_its_own(place: str) -> None:
    for secret in (SECRET, "another-one-1618"):
        with attempt(token=secret):
            assert await read(place) == secret


def test_a_field_that_is_not_there_is_named() -> None:
    with attempt(), pytest.raises(Refused) as refused:
        environment({"KEY": "token", "USER": "user"})
    assert refused.value.code == "credential.field"


def test_only_named_variables_go_along() -> None:
    with attempt(dsn="host=x", password=SECRET):
        assert environment({"FLIGHTS_DSN": "dsn"}) == {"FLIGHTS_DSN": "host=x"}


async def test_concurrent_attempts_do_not_meet() -> None:
    current, key = Current(), api_key()

    async def one(secret: str) -> list[str]:
        with attempt(token=secret):
            found = []
            for _ in range(5):
                await asyncio.sleep(0)
                found += [current["token"], await key(), await asyncio.to_thread(current.__getitem__, "token")]
            return found

    found = await asyncio.gather(*(one(f"secret-number-{n}") for n in range(20)))
    assert [set(each) for each in found] == [{f"secret-number-{n}"} for n in range(20)]


def test_a_reference_says_nothing_and_can_be_read_back() -> None:
    current = Current()
    checkpoints = JsonPlusSerializer(allowed_msgpack_modules=[Current])
    with attempt():
        written: list[str | bytes] = [
            repr(current),
            pickle.dumps(current),
            json.dumps(TypeAdapter(Current).dump_python(current, mode="json")),
            dumps({"configurable": {"credential": current}}),
            checkpoints.dumps_typed(current)[1],
            DataConverter.default.payload_converter.to_payload(current).data,
            pydantic_data_converter.payload_converter.to_payload(current).data,
        ]
        assert not any(SECRET in one if isinstance(one, str) else SECRET.encode() in one for one in written)
        back = [
            pickle.loads(pickle.dumps(current)),
            copy.deepcopy(current),
            TypeAdapter(Current).validate_json(TypeAdapter(Current).dump_json(current)),
            checkpoints.loads_typed(checkpoints.dumps_typed(current)),
            DataConverter.default.payload_converter.from_payload(
                DataConverter.default.payload_converter.to_payload(current), Current
            ),
        ]
        assert [one["token"] for one in back] == [SECRET] * 5
    assert back == [current] * 5


async def test_pydantic_ai_gives_it_to_a_tool_as_its_dependency() -> None:
    agent = Agent(TestModel(), deps_type=Current)

    @agent.tool
    def query(ctx: RunContext[Current]) -> str:
        return f"{len(ctx.deps['token'])} characters"

    with attempt():
        result = await agent.run("go", deps=Current())
    assert f"{len(SECRET)} characters" in result.output
    assert SECRET.encode() not in result.all_messages_json()


def test_langchain_gives_it_to_a_tool_and_shows_it_to_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(langchain, "_GOVERNS", threading.Event())  # a worker of another test may have run here

    def query(sql: str, credential: Annotated[Current, InjectedToolArg], config: RunnableConfig) -> list[str]:
        """Ask."""
        return [credential["token"], config["configurable"]["credential"]["token"]]

    asked = StructuredTool.from_function(query)
    assert set(asked.tool_call_schema.model_json_schema()["properties"]) == {"sql"}  # type: ignore[union-attr]
    with attempt():
        found = asked.invoke({"sql": "select 1", "credential": Current()}, {"configurable": {"credential": Current()}})
    assert found == [SECRET, SECRET]


def test_it_is_imported_without_anybody_elses_package() -> None:
    said = (
        "import sys, remit.delivery; "
        "print(sorted({'httpx', 'httpx2', 'mcp', 'botocore', 'psycopg', 'openai'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout == "[]\n"
