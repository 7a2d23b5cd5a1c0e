"""Headers: to one origin, read when a request is sent, kept by nothing."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest
from openai import AsyncOpenAI

from remit import delivery
from remit.delivery import api_key
from remit.delivery import httpx as for_httpx
from remit.delivery import httpx2 as for_httpx2
from remit.errors import Refused, Usage

from .conftest import SECRET, Site, attempt

BOTH = pytest.mark.parametrize(("library", "ours"), [(httpx, for_httpx), (httpx2, for_httpx2)], ids=["httpx", "httpx2"])
Sites = tuple[Site, Site]


def clients(library: Any, ours: Any, kind: str, to: str, **options: Any) -> tuple[Any, Any]:
    """Return a synchronous and an asynchronous client."""
    if kind == "auth":
        auth = ours.Auth(to=to)
        return library.Client(auth=auth, **options), library.AsyncClient(auth=auth, **options)
    return (
        library.Client(transport=ours.Transport(to=to, name="X-Api-Key"), **options),
        library.AsyncClient(transport=ours.AsyncTransport(to=to, name="X-Api-Key"), **options),
    )


async def got(clients: tuple[Any, Any], url: str) -> list[Any]:
    """Ask once with each client."""
    return [await asyncio.to_thread(clients[0].get, url), await clients[1].get(url)]


async def close(clients: tuple[Any, Any]) -> None:
    clients[0].close()
    await clients[1].aclose()


SAID = {"auth": ("authorization", f"Bearer {SECRET}"), "transport": ("x-api-key", SECRET)}
KINDS = pytest.mark.parametrize("kind", SAID)


@BOTH
@KINDS
async def test_one_origin_gets_it_and_nothing_keeps_it(library: Any, ours: Any, kind: str, sites: Sites) -> None:
    here, there = sites
    name, value = SAID[kind]
    made = clients(library, ours, kind, here.url)
    with attempt():
        answers = [*await got(made, f"{here.url}/a"), *await got(made, f"{there.url}/a")]
    await close(made)
    assert [one[name] for one in here.seen] == [value, value]
    assert [one for one in there.seen if SECRET in str(one)] == []
    assert len(there.seen) == 2
    assert [one for one in answers if SECRET in str(one.request.headers.multi_items())] == []


@BOTH
@KINDS
@pytest.mark.parametrize("hops", ["away", "away and back", "within"])
async def test_a_redirect_takes_it_nowhere(library: Any, ours: Any, kind: str, hops: str, sites: Sites) -> None:
    here, there = sites
    name, value = SAID[kind]
    to = {
        "away": f"{there.url}/end",
        "away and back": f"{there.url}/b?to={here.url}/end",
        "within": f"{here.url}/end",
    }[hops]
    made = clients(library, ours, kind, here.url, follow_redirects=True)
    with attempt():
        answers = await got(made, str(library.URL(f"{here.url}/a", params={"to": to})))
    await close(made)
    assert [one.request.url.path for one in answers] == ["/end", "/end"]
    assert [one for one in there.seen if SECRET in str(one)] == []
    assert here.seen[0].get(name) == value
    if hops == "within":
        assert [one.get(name) for one in here.seen] == [value] * 4
    kept = [one.request for answer in answers for one in (answer, *answer.history)]
    assert [one for one in kept if SECRET in str(one.headers.multi_items())] == []


@BOTH
async def test_httpx_itself_would_redirect_any_other_header(library: Any, ours: ModuleType, sites: Sites) -> None:
    """Why a header other than Authorization needs the transport."""
    here, there = sites
    headers = {"X-Api-Key": SECRET, "Authorization": SECRET}
    with library.Client(follow_redirects=True) as client:
        await asyncio.to_thread(client.get, f"{here.url}/a?to={there.url}/end", headers=headers)
    assert ("authorization" in there.seen[0], there.seen[0]["x-api-key"]) == (False, SECRET)


@BOTH
@KINDS
async def test_nothing_is_sent_without_an_attempt(library: Any, ours: Any, kind: str, sites: Sites) -> None:
    here, _ = sites
    made = clients(library, ours, kind, here.url)
    with attempt():
        await got(made, here.url)
    here.seen.clear()
    with pytest.raises(Refused) as refused:
        made[0].get(here.url)
    with pytest.raises(Refused) as refused_too:
        await made[1].get(here.url)
    assert (refused.value.code, refused_too.value.code) == ("credential.none", "credential.none")
    await close(made)
    assert here.seen == []


@BOTH
@KINDS
async def test_concurrent_attempts_share_a_client_and_no_credential(
    library: Any, ours: Any, kind: str, sites: Sites
) -> None:
    here, _ = sites
    name, _ = SAID[kind]
    sync, client = clients(library, ours, kind, here.url)

    async def one(number: int) -> None:
        with attempt(token=f"secret-number-{number}"):
            for _ in range(3):
                await client.post(f"{here.url}/", headers={"X-Number": str(number)}, content=b"x" * 1000)

    await asyncio.gather(*(one(number) for number in range(20)))
    await close((sync, client))
    assert len(here.seen) == 60
    assert {one[name].endswith(f"secret-number-{one['x-number']}") for one in here.seen} == {True}


@BOTH
async def test_a_request_that_fails_keeps_nothing(library: Any, ours: Any) -> None:
    async with library.AsyncClient(auth=ours.Auth(to="http://127.0.0.1:1")) as client:
        with attempt(), pytest.raises(library.ConnectError) as failed:
            await client.get("http://127.0.0.1:1/")
    assert "authorization" not in failed.value.request.headers


@BOTH
@pytest.mark.parametrize(
    "to", ["", "api.example.com", "ftp://h", "https://", "https://u:p@h", "http://h:x", "//h", "https://bücher.example"]
)
def test_an_origin_is_one(library: Any, ours: Any, to: str) -> None:
    with pytest.raises(Usage) as refused:
        ours.Auth(to=to)
    assert refused.value.code == "delivery.origin"


@BOTH
def test_a_default_port_and_a_names_case_are_no_difference(library: Any, ours: Any) -> None:
    def auth(to: str, url: str) -> str | None:
        request = library.Request("GET", url)
        flow = ours.Auth(to=to).sync_auth_flow(request)
        return next(flow).headers.get("authorization")

    with attempt():
        for url in ("https://api.example.com/v1", "https://API.example.com:443/"):
            assert auth("https://api.example.com/v1", url) == f"Bearer {SECRET}"
        for url in (
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://api.example.com.evil.org/",
            "https://evil.org/https://api.example.com",
            "https://api.example.com@evil.org/",
        ):
            assert auth("https://api.example.com", url) is None
        assert auth("http://[::1]:80", "http://[::1]/a") == f"Bearer {SECRET}"
        assert auth("https://xn--bcher-kva.example", "https://bücher.example/") == f"Bearer {SECRET}"


async def test_openai_signs_with_the_attempts_key_either_way(sites: Sites) -> None:
    here, _ = sites
    auth = for_httpx2.Auth(to=here.url)
    over = AsyncOpenAI(api_key="none", base_url=here.url, max_retries=0, http_client=httpx2.AsyncClient(auth=auth))
    asking = AsyncOpenAI(api_key=api_key(), base_url=here.url, max_retries=0)
    for client in (over, asking):
        for secret in ("secret-number-1", "secret-number-2"):
            with attempt(token=secret):
                await client.models.list()
            assert here.seen[-1]["authorization"] == f"Bearer {secret}"
        with pytest.raises(Refused):
            await client.models.list()
        await client.close()
    assert len(here.seen) == 4
    assert over.api_key == "none"


def test_it_has_what_it_says() -> None:
    assert {"Current", "api_key", "environment", "sync_api_key"} == set(delivery.__all__)
