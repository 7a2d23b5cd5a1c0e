"""Each place a credential is delivered to, as the guide shows it, on the real stack; and that it dies with its attempt.

- The code is the guide's own: docs/guides/credentials.md, with loopback addresses in place of the example's.
- Every secret that was minted is noted while it is made, and looked for in the histories afterwards.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.config import Config
from pydantic import BaseModel

from remit.credentials import Lease, Mint
from remit.embedded import Stack
from remit.errors import Refused
from remit.mapping import Mapping
from remit.settings import Settings
from remit.temporal import delegated, tool
from remit.vault import Token, Vault
from tests.attacks.canaries import hits
from tests.frameworks.ground import Ground, eventually, governed
from tests.frameworks.mcp_agents import Operations
from tests.unit.delivery.conftest import Site
from tests.unit.delivery.mcp_site import Front, mcp_site
from tests.unit.temporal.flows import FLOWS

from .acting import delegate, minted_users

pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/guides/credentials.md").read_text(encoding="utf-8")
SERVER = ROOT / "tests/unit/delivery/mcp_server.py"
QUEUE = "delivery"
STORED = {
    "key": "canary-stored-key-8675309",
    "access_key": "AKIACANARY1",
    "secret_key": "canary-stored-secret-1123",
    "session_token": "canary-stored-session-5813",
}
PLACES: dict[str, Callable[[], Any]] = {}
"""What the guide's code offers a tool, by its name."""
LEFT: dict[str, asyncio.Task[Any]] = {}
"""What attempts left behind: a task, with a copy of the attempt's context, that uses the place once more."""
OVER = asyncio.Event()
MINTED: set[str] = set()


class Errand(BaseModel):
    place: str
    dataset: str = "flights"


async def _use(place: str) -> Any:
    async def once() -> Any:
        found = PLACES[place]()
        return await found if inspect.isawaitable(found) else found

    async def later() -> Any:
        await OVER.wait()
        return await once()

    LEFT[place] = asyncio.create_task(later())
    return await once()


@tool(name="deliver.stored", action="dataset:query", resource=lambda errand: errand.dataset, credential="weather-api")
async def stored(errand: Errand) -> Any:
    """Use a place with a stored secret."""
    return await _use(errand.place)


@tool(name="deliver.database", action="dataset:query", resource=lambda errand: errand.dataset, credential="flights-ro")
async def database(errand: Errand) -> Any:
    """Use a place with a database user."""
    return await _use(errand.place)


MAPPING = Mapping.parse(
    'frameworks = ["mcp"]\n'
    + "".join(
        f'[servers.{server}.tools.{name}]\naction = "dataset:query"\nresource = "flights"\ncredential = "flights-ro"\n'
        for server, names in {"flights": ("variables", "pid", "spills", "nap"), "weather": ("echo",)}.items()
        for name in names
    )
)


@pytest.fixture(scope="module")
async def addresses() -> AsyncIterator[tuple[Site, str, Front]]:
    """A site and an MCP server on loopback."""
    from aiohttp import web

    site = Site("")

    async def answer(request: web.Request) -> web.Response:
        site.seen.append({name.lower(): value for name, value in request.headers.items()})
        models = {"object": "list", "data": []}
        return web.json_response(models) if request.path == "/models" else web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with mcp_site() as (url, front):
        yield site, url, front
    await runner.cleanup()


@pytest.fixture(scope="module")
def guide(addresses: tuple[Site, str, Front]) -> Iterator[dict[str, Any]]:
    """Run the guide's code."""
    site, url, _ = addresses
    text = GUIDE.replace("https://mcp.example/mcp", url)
    text = re.sub(r"https://(weather|maps|model)\.example", site.url, text)
    text = text.replace(
        'command="flights-mcp", args=["--quiet"]', f"command={sys.executable!r}, args=[{str(SERVER)!r}]"
    )
    text = text.replace('.client("s3")', f'.client("s3", endpoint_url="{site.url}", config=CONFIG)')
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) == 7
    made: dict[str, Any] = {"__name__": "guide", "CONFIG": Config(s3={"addressing_style": "path"})}
    for block in blocks:
        exec(compile(block, "docs/guides/credentials.md", "exec", dont_inherit=True), made)
    yield made
    made["s3"].close()


@pytest.fixture(scope="module")
async def ground(stack: Stack, settings: Settings, guide: dict[str, Any]) -> AsyncIterator[Ground]:
    """A worker with the guide's MCP plugin, and a stored secret with the fields of an AWS key."""
    names = ("password", "forecast", "chart", "offered", "flights_there_are", "depend")
    PLACES.update({name: guide[name] for name in names})
    PLACES["store"] = lambda: asyncio.to_thread(guide["store"])
    mint = Mint.mint

    async def noted(self: Mint, *given: Any, **named: Any) -> Lease:
        lease = await mint(self, *given, **named)
        MINTED.update(secret for secret in lease.credential.secrets if len(secret) >= 8)
        return lease

    async with Vault(stack.openbao.address, stack.openbao.ca, Token(stack.openbao.admin_token())) as admin:
        before = await admin.read("remit-secrets/data/weather-api")
        assert before is not None
        await admin.write("remit-secrets/data/weather-api", data=STORED)
        with pytest.MonkeyPatch.context() as patches:
            patches.setattr(Mint, "mint", noted)
            async with governed(
                stack,
                settings,
                MAPPING,
                plugins=[guide["plugin"]],
                workflows=[*FLOWS, Operations],
                activities=[stored, database],
                queue=QUEUE,
            ) as made:
                yield made
        await admin.write("remit-secrets/data/weather-api", data=before["data"]["data"])


@pytest.fixture(autouse=True)
def fresh(addresses: tuple[Site, str, Front]) -> None:
    addresses[0].seen.clear()
    addresses[2].seen.clear()
    OVER.clear()


async def call(ground: Ground, name: str, place: str) -> Any:
    """Have a workflow use a place; return what it got, with nothing secret in its history."""
    task = await delegate(ground.settings)
    with delegated(task.reference):
        handle = await ground.client.start_workflow(
            "CallsOnce", [[name, {"place": place}]], id=task.id, task_queue=QUEUE
        )
    (found,) = await handle.result()
    assert hits(MINTED, {"history": (await handle.fetch_history()).to_json()}) == []
    assert minted_users(ground.stack, task) == []
    return found


@pytest.mark.parametrize(
    ("name", "place", "expected"),
    [
        ("deliver.database", "password", None),
        ("deliver.database", "flights_there_are", 336776),
        ("deliver.stored", "forecast", 200),
        ("deliver.stored", "chart", 200),
        ("deliver.stored", "offered", 0),
        ("deliver.stored", "store", None),
        ("deliver.stored", "depend", len(STORED["key"])),
    ],
)
async def test_a_place_has_it_while_the_attempt_runs_and_not_afterwards(
    ground: Ground, addresses: tuple[Site, str, Front], name: str, place: str, expected: Any
) -> None:
    site = addresses[0]
    found = await call(ground, name, place)
    assert found == ("[redacted]" if place == "password" else expected)
    if place in SENT:
        assert [{header: one.get(header) for header in SENT[place]} for one in site.seen][-1] == SENT[place]
    if place == "store":
        assert f"Credential={STORED['access_key']}/" in site.seen[0]["authorization"]
    site.seen.clear()
    OVER.set()
    with pytest.raises(Refused) as refused:
        await LEFT.pop(place)
    assert refused.value.code == "credential.none"
    assert site.seen == [], "nothing was sent"


SENT = {
    "forecast": {"authorization": f"Bearer {STORED['key']}"},
    "chart": {"x-api-key": STORED["key"], "authorization": None},
    "offered": {"authorization": f"Bearer {STORED['key']}"},
    "store": {"x-amz-security-token": STORED["session_token"]},
}
LIST, VARIABLES = ["list_tools"], ["call_tool", "variables", {}]


async def test_a_stdio_server_has_the_variables_of_its_attempt(ground: Ground) -> None:
    MINTED.clear()
    run = await ground.start(Operations.run, "flights", [LIST, VARIABLES, VARIABLES, ["call_tool", "spills", {}]])
    listed, one, two, spilled = await run.result()
    assert "variables" in [found["name"] for found in listed["tools"]]
    digests = [re.search(r'"FLIGHTS_DSN": ?"([0-9a-f]{64})"', text) for _, text in (one, two)]
    assert all(digests)
    seen = {found.group(1) for found in digests if found}
    assert len(seen) == 2, "each attempt has its own"
    assert seen <= {hashlib.sha256(secret.encode()).hexdigest() for secret in MINTED}
    assert spilled == [False, "connecting with [redacted]"]
    assert not any(_variable(one) for one in psutil.Process().children(recursive=True)), "each process is gone"
    assert run.users() == []
    assert hits(MINTED, {"history": (await run.history()).to_json()}) == []


async def test_an_http_server_is_asked_with_the_header_of_its_attempt(
    ground: Ground, addresses: tuple[Site, str, Front]
) -> None:
    MINTED.clear()
    front = addresses[2]
    run = await ground.start(Operations.run, "weather", [LIST])
    await run.result()
    assert front.seen
    assert not any("authorization" in one for one in front.seen), "listing has no credential"
    front.seen.clear()
    run = await ground.start(Operations.run, "weather", [["call_tool", "echo", {"text": "a"}]] * 2)
    assert await run.result() == [[False, "a"]] * 2
    said = {one.get("authorization", "") for one in front.seen}
    assert len(said) == 2
    assert all(one.removeprefix("Bearer ") in MINTED for one in said)
    assert run.users() == []
    assert hits(MINTED, {"history": (await run.history()).to_json()}) == []


async def test_a_revoked_attempts_process_and_user_are_gone(ground: Ground) -> None:
    run = await ground.start(Operations.run, "flights", [["call_tool", "nap", {"seconds": 600}]])

    def serving() -> list[psutil.Process]:
        children = psutil.Process().children(recursive=True)
        return [one for one in children if run.delegations[0] in _variable(one)]

    (process,) = await eventually(serving)
    assert len(run.users()) == 1
    await run.revoke()
    await eventually(lambda: not process.is_running())
    await eventually(lambda: run.outcomes() in (["permitted", "stopped"], ["permitted", "cancelled"]))
    assert run.users() == []
    assert hits(MINTED, {"history": (await run.history()).to_json()}) == []
    await run.handle.terminate()


def _variable(process: psutil.Process) -> str:
    try:
        return process.environ().get("FLIGHTS_DSN", "")
    except psutil.Error:
        return ""
