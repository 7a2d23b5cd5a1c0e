"""The codec server: what the UI and the `temporal` command are shown, and what nobody else is."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

from remit import codec
from remit.client.codec_server import MOST_BYTES, CodecServer
from remit.client.connection import Connection
from remit.embedded import Stack
from remit.embedded.programs import program
from remit.session import Sessions
from remit.settings import Settings

from .service import asks, job, serving, submit, until

pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

CANARY = "grey-heron-4482"
UI = "http://127.0.0.1:8233"
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(CANARY).encode())


@pytest.fixture(scope="session")
def secret(settings: Settings) -> Settings:
    return settings.model_copy(update={"encrypt": True, "task_queue": "secret"})


@asynccontextmanager
async def serves(settings: Settings, person: str = "alice", **changes: Any) -> AsyncIterator[str]:
    connection = Connection(settings, person)
    server = CodecServer(connection, **{"ui": UI, "port": 0, **changes})
    endpoint = await server.start()
    try:
        yield endpoint
    finally:
        await server.close()
        await connection.close()


async def asked(
    url: str, body: Any, *, method: str = "POST", headers: Mapping[str, str] | None = None
) -> tuple[int, Any, Mapping[str, str]]:
    text = body if isinstance(body, bytes | str) else json.dumps(body)
    data = io.BytesIO(text if isinstance(text, bytes) else text.encode())
    sent = {"Content-Type": "application/json", "X-Namespace": "default", **(headers or {})}
    async with aiohttp.ClientSession() as http, http.request(method, url, data=data, headers=sent) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text else None, answer.headers


async def sealed(settings: Settings, person: str = "alice") -> dict[str, Any]:
    connection = Connection(settings, person)
    try:
        made = await codec.encrypting(connection.vault).payload_codec.encode([PLAIN])  # type: ignore[union-attr]
        found: dict[str, Any] = json_format.MessageToDict(Payloads(payloads=made))
        return found
    finally:
        await connection.close()


async def shown(stack: Stack, task: str, endpoint: str, *, seconds: int = 60) -> tuple[int, str]:
    """Ask the real command for a history, decoded by this server, and read the base64 it prints payloads in."""
    process = await asyncio.create_subprocess_exec(
        str(program("temporal")),
        *("workflow", "show", "-w", task, "-o", "json", "--address", stack.temporal.address),
        *("--codec-endpoint", endpoint, "--command-timeout", f"{seconds}s"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode is not None
    text = printed.decode()
    data = [base64.b64decode(one).decode(errors="replace") for one in re.findall(r'"data": "([^"]*)"', text)]
    return process.returncode, "\n".join((text, *data))


async def test_temporals_own_command_shows_a_reader_the_history(stack: Stack, secret: Settings) -> None:
    async with serving(secret):
        task = await submit(secret, job(f"[{asks(f'select $${CANARY}$$ as word')}]"))
        await until(secret, task, "completed")
    async with serves(secret) as endpoint:
        status, text = await shown(stack, task, endpoint)
        assert (status, CANARY in text) == (0, True), text
        status, text = await shown(stack, task, endpoint + "/{namespace}")
        assert (status, CANARY in text) == (0, True), text
    async with serves(secret, "carol") as endpoint:
        status, text = await shown(stack, task, endpoint, seconds=4)
        assert status != 0
        assert CANARY not in text  # the command asks again until its time is up


async def test_the_command_serves_until_it_is_told_to_stop(secret: Settings) -> None:
    there = await sealed(secret)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "remit.cli", "--home", str(secret.home), "codec", "--as", "alice"),
        *("--port", "0", "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        text = ""
        while not text.endswith("}\n"):
            line = (await process.stdout.readline()).decode()
            assert line, "it ended"
            text += line
        started = json.loads(text)
        assert (started["person"], started["ui"][:17]) == ("alice", "http://127.0.0.1:")
        status, read, _ = await asked(f"{started['endpoint']}/decode", there)
        assert (status, read) == (200, json_format.MessageToDict(Payloads(payloads=[PLAIN])))
    finally:
        process.send_signal(signal.SIGINT)
        _, complaints = await process.communicate()
    assert (process.returncode, complaints) == (0, b"")


async def test_what_is_encoded_is_decoded_to_the_same(secret: Settings) -> None:
    plain = json_format.MessageToDict(Payloads(payloads=[PLAIN, Payload()]))
    async with serves(secret) as endpoint:
        status, made, _ = await asked(f"{endpoint}/encode", plain)
        assert status == 200
        assert CANARY not in json.dumps(made)
        assert made != plain
        assert (await asked(f"{endpoint}/decode", made))[:2] == (200, plain)
        assert (await asked(f"{endpoint}/decode", plain))[:2] == (200, plain)
        assert (await asked(f"{endpoint}/decode", {}))[:2] == (200, {})


async def test_who_may_not_read_sees_nothing(secret: Settings) -> None:
    there = await sealed(secret, "carol")
    async with serves(secret, "carol") as endpoint:
        status, said, _ = await asked(f"{endpoint}/decode", there)
    assert (status, said["code"]) == (403, "codec.forbidden")
    assert "readers" in said["next"]


async def test_a_session_that_is_over_is_told_and_a_new_one_taken(secret: Settings, tmp_path: Any) -> None:
    """A person's session that ended shows nothing; after the next login it goes on."""
    there = await sealed(secret)
    sessions = Sessions(tmp_path)  # no generated password to log in with again
    kept = Sessions(secret.home).find("alice", address=secret.openbao_address, now=0)
    assert kept is not None
    lonely = secret.model_copy(update={"home": tmp_path})
    async with serves(lonely) as endpoint:
        status, said, _ = await asked(f"{endpoint}/decode", there)
        assert (status, said["code"]) == (401, "login.needed")
        assert "remit login --as alice" in said["next"]
        sessions.keep(kept)
        assert (await asked(f"{endpoint}/decode", there))[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.nip.io", "localhost", "[::1]"])
async def test_another_name_for_it_is_refused(secret: Settings, host: str) -> None:
    async with serves(secret) as endpoint:
        port = urlsplit(endpoint).port
        name = host if ":80" in host else f"{host}:{port}"
        status, said, answered = await asked(f"{endpoint}/decode", {}, headers={"Host": name})
        assert (status, said.get("code")) == ((200, None) if host == "localhost" else (403, "codec.host"))
        assert "Access-Control-Allow-Origin" not in answered


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:8234", UI + ".evil.example"])
async def test_another_page_is_refused(secret: Settings, origin: str) -> None:
    async with serves(secret) as endpoint:
        for method in ("OPTIONS", "POST"):
            status, said, answered = await asked(f"{endpoint}/decode", {}, method=method, headers={"Origin": origin})
            assert (status, said["code"]) == (403, "codec.origin")
            assert "Access-Control-Allow-Origin" not in answered
    async with serves(secret, ui=None) as endpoint:
        assert (await asked(f"{endpoint}/decode", {}, headers={"Origin": UI}))[0] == 403


async def test_the_ui_may_ask_and_reads_errors_too(secret: Settings) -> None:
    async with serves(secret) as endpoint:
        status, _, answered = await asked(f"{endpoint}/decode", "", method="OPTIONS", headers={"Origin": UI})
        assert (status, answered["Access-Control-Allow-Origin"]) == (204, UI)
        assert answered["Access-Control-Allow-Headers"] == "Content-Type, X-Namespace"
        assert "Access-Control-Allow-Credentials" not in answered
        status, _, answered = await asked(f"{endpoint}/decode", "no json", headers={"Origin": UI})
        assert (status, answered["Access-Control-Allow-Origin"]) == (400, UI)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"path": "guess"}, 404, "codec.path"),
        ({"path": ""}, 404, "codec.path"),
        ({"last": "download"}, 404, "codec.path"),
        ({"method": "GET"}, 400, "codec.request"),
        ({"headers": {"Content-Type": "text/plain"}}, 400, "codec.request"),
        ({"headers": {"X-Namespace": "other"}}, 400, "codec.namespace"),
        ({"body": "["}, 400, "codec.request"),
        ({"body": b"\xff\xfe"}, 400, "codec.request"),
        ({"body": '{"payloads": [' + '{"metadata":' * 200}, 400, "codec.request"),
        ({"body": {"payloads": [{"metadata": {"encoding": {}}}]}}, 400, "codec.request"),
        ({"body": {"secrets": []}}, 400, "codec.request"),
        ({"body": "x" * (MOST_BYTES + 1)}, 413, "codec.size"),
        (
            {"body": {"payloads": [{"metadata": {"encoding": "YmluYXJ5L3JlbWl0LWVuY3J5cHRlZA=="}}]}},
            422,
            "codec.payload",
        ),
    ],
)
async def test_whatever_is_wrong_is_one_clear_error(
    secret: Settings, change: dict[str, Any], status: int, code: str
) -> None:
    async with serves(secret) as endpoint:
        if "path" in change:
            endpoint = endpoint.rpartition("/")[0] + "/" + change["path"]
        url = f"{endpoint}/{change.get('last', 'decode')}"
        found, said, _ = await asked(
            url, change.get("body", {}), method=change.get("method", "POST"), headers=change.get("headers")
        )
    assert (found, said["code"]) == (status, code)
    assert set(said) == {"error", "code", "next"}


async def test_it_listens_on_loopback_only_and_its_address_holds_a_secret(secret: Settings) -> None:
    async with serves(secret) as endpoint, serves(secret) as again:
        first, second = urlsplit(endpoint), urlsplit(again)
        assert (first.hostname, len(first.path) > 16, first.path) == ("127.0.0.1", True, second.path)
        assert (secret.home / "keys" / "codec-path").stat().st_mode & 0o077 == 0
