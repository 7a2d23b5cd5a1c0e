"""An attempt's credential, and sites on loopback that note who came with what."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from remit.credentials import CREDENTIAL, Credential

SECRET = "canary-delivered-2718281828"


@contextmanager
def attempt(**values: str) -> Iterator[Credential]:
    """Be an attempt with these fields; it ends as one does."""
    credential = Credential("p", "secret", "u", 1, dict(values) or {"token": SECRET})
    token = CREDENTIAL.set(credential)
    try:
        yield credential
    finally:
        CREDENTIAL.reset(token)
        credential.forget()


Attempt = Callable[..., AbstractContextManager[Credential]]


@dataclass
class Site:
    """One origin: it notes the headers of each request, and redirects where it is asked to."""

    url: str
    seen: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
async def sites() -> AsyncIterator[tuple[Site, Site]]:
    """Two origins."""
    runners, made = [], []
    for _ in range(2):
        site = Site("")

        async def answer(request: web.Request, site: Site = site) -> web.Response:
            site.seen.append({name.lower(): value for name, value in request.headers.items()})
            if (to := request.query.get("to")) is not None:
                raise web.HTTPTemporaryRedirect(to)
            return web.json_response({"object": "list", "data": []}) if "models" in request.path else web.Response()

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        listening = web.TCPSite(runner, "127.0.0.1", 0)
        await listening.start()
        site.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        runners.append(runner)
        made.append(site)
    yield made[0], made[1]
    for runner in runners:
        await runner.cleanup()
