"""The fenced mint: what is handed over was live after it was made, and whatever fails leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from remit import jose
from remit.catalogue import CredentialProfile
from remit.chain import Chain, chain_digest
from remit.credentials import Lease, mint
from remit.credentials.lease import Occasion
from remit.delegation import Scope
from remit.errors import Held, NotLive, Refused
from remit.presentation import ACCESS_TYP
from remit.statements import Event
from tests.unit.documents import DOMAIN, NOW, signer, uuid
from tests.unit.world import ANALYST, WRITER, Task, World, world

GRANT = uuid(77)
OCCASION = Occasion(GRANT, "task", "run-1", 3, 2, "notify", Scope(("dataset:query",), ("flights",), 1))
AT = "remit-live/leases"


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def two(w: World, **changes: Any) -> tuple[Task, Chain]:
    task = await w.narrower(await w.delegate(), **changes)
    return task, Chain(task.links, task.jws, chain_digest(task.jws))


def profile(w: World, name: str = "flights-ro", **changes: Any) -> CredentialProfile:
    return w.policy.catalogue.credentials[name].model_copy(update={"name": name, **changes})


async def minted(
    w: World,
    chain: Chain,
    wanted: CredentialProfile | None = None,
    *,
    longest: int = 300,
    occasion: Occasion = OCCASION,
) -> Lease:
    return await w.mint.mint(
        wanted or profile(w),
        occasion=occasion,
        chain=chain,
        longest=longest,
        require_live=lambda: w.standing.require_live(chain),
    )


def left(w: World) -> tuple[int, int, int]:
    """Return how many logins live, how many leases, and how many records there are of them."""
    kept = w.vault.kept
    return sum(one.alive for one in kept.logins.values()), len(kept.leases), len(kept.live)


async def test_a_database_user_and_what_destroys_it(w: World) -> None:
    _, chain = await two(w)
    lease = await minted(w, chain)
    assert lease == Lease(
        occasion=OCCASION,
        root=chain.ids[0],
        credential=lease.credential,
        login=lease.login,
        lease_id="database/creds/flights-ro/1",
        ttl=45,
        until=NOW + 300,
    )
    assert lease.login is not None
    assert (lease.login.token, lease.login.accessor, lease.login.ttl) == ("s.1", "a1", 60)
    made = lease.credential
    assert (made.profile, made.kind, made.user, made.expires_at) == ("flights-ro", "postgres", "u1", NOW + 45)
    assert {name: made[name] for name in ("username", "password", "dsn")} == {
        "username": "u1",
        "password": "p",
        "dsn": "host=h dbname=d user=u1 password=p",
    }
    assert left(w) == (1, 1, 1)
    assert w.vault.kept.live == {
        f"{AT}/{chain.ids[0]}/{GRANT}": {
            "accessor": "a1",
            "lease": "database/creds/flights-ro/1",
            "chain": list(chain.ids),
            "principals": [one.spiffe_id for one in chain.principals],
            "task": "task",
            "run": "run-1",
            "step": 3,
            "attempt": 2,
            "profile": "flights-ro",
        }
    }


async def test_a_login_names_the_one_attempt_it_is_for(w: World) -> None:
    _, chain = await two(w)
    await minted(w, chain)
    (claims,) = w.vault.kept.tokens
    assert claims | {"jti": ""} == {
        "typ": "step",
        "iss": f"spiffe://{DOMAIN}/authority",
        "aud": "openbao",
        "sub": chain.ids[0],
        "jti": "",
        "iat": NOW,
        "exp": NOW + 10,
        "root": chain.ids[0],
        "delegation": chain.ids[1],
        "chain": chain.digest,
        "principal": "alice",
        "act": {"sub": WRITER.spiffe_id},
        "task": "task",
        "step": "3",
        "attempt": "2",
        "dbrole": "flights-ro",
    }
    await minted(w, chain)
    first, second = w.vault.kept.tokens
    assert first["jti"] != second["jti"]


async def test_the_order_of_things(w: World) -> None:
    """Recorded before it is made; looked up, asked about and recorded with its lease after it was made."""
    _, chain = await two(w)
    w.vault.kept.asked.clear()
    await minted(w, chain)
    asked = [(method, path.partition("/data/delegations")[0]) for method, path, _ in w.vault.kept.asked]
    record = ("POST", f"{AT}/{chain.ids[0]}/{GRANT}")
    assert asked[:3] == [("POST", "auth/remit-step/cel/login"), record, ("GET", "database/creds/flights-ro")]
    assert {("GET", "auth/token/lookup-self"), ("GET", "remit/data/epoch"), record} <= set(asked[3:])
    bodies = [body for method, path, body in w.vault.kept.asked if path.startswith(AT)]
    assert [body["lease"] for body in bodies] == [None, "database/creds/flights-ro/1"]


@pytest.mark.parametrize("longest", [10, 300])
async def test_a_lease_lasts_no_longer_than_it_may_nor_than_its_chain(w: World, longest: int) -> None:
    _, chain = await two(w, exp=NOW + 20)
    lease = await minted(w, chain, longest=longest)
    assert lease.until == NOW + min(longest, 20)
    assert (lease.ttl, lease.credential.expires_at) == (45, NOW + 20)


async def test_a_static_secret_has_a_login_and_no_lease(w: World) -> None:
    _, chain = await two(w)
    lease = await minted(w, chain, profile(w, "weather-api"))
    assert (lease.lease_id, lease.ttl, lease.credential.user) == (None, 60, None)
    assert (lease.credential.kind, lease.credential["key"]) == ("secret", "w")
    assert lease.credential.expires_at == NOW + 60
    assert left(w) == (1, 0, 1)
    w.vault.kept.asked.clear()
    assert await w.mint.revoke(lease) is None
    assert w.vault.kept.asked == []
    assert await w.mint.destroy(lease) is None
    assert left(w) == (0, 0, 0)
    w.vault.login_ttl = 0
    assert (await minted(w, chain, profile(w, "weather-api"))).ttl == 0


async def test_the_other_profile_has_a_role_for_each_credential_role(w: World) -> None:
    _, chain = await two(w)
    w.vault.profile = "vault"
    assert (await minted(w, chain)).credential.user == "u1"


async def test_a_secret_of_the_older_engine_is_not_wrapped(w: World) -> None:
    _, chain = await two(w)
    w.vault._secrets["remit-secrets/data/weather-api"] = {"key": "w", "gone": None}
    lease = await minted(w, chain, profile(w, "weather-api"))
    assert lease.credential["key"] == "w"
    assert "gone" not in lease.credential.values


async def test_an_engine_needs_no_connection_string(w: World) -> None:
    _, chain = await two(w)
    w.mint._postgres = {}
    lease = await minted(w, chain, profile(w, kind="engine"))
    assert (lease.credential.user, "dsn" in lease.credential.values) == ("u1", False)
    with pytest.raises(Refused) as refused:
        await minted(w, chain, occasion=replace(OCCASION, grant=uuid(78)))
    assert refused.value.code == "settings.postgres"
    assert left(w) == (1, 1, 1)


async def test_a_token_for_a_service(w: World) -> None:
    _, chain = await two(w)
    for name, audience in (("notify", "notify"), ("", "fixed")):
        wanted = profile(w, "service-token", audience=None if name else "fixed")
        lease = await minted(w, chain, wanted, occasion=replace(OCCASION, service=name))
        claims = jose.verify(lease.credential["token"], typ=ACCESS_TYP, key=signer("tokens").key)
        assert claims == {
            "iss": f"spiffe://{DOMAIN}/authority",
            "aud": audience,
            "sub": chain.root.spiffe_id,
            "client_id": WRITER.spiffe_id,
            "act": {"sub": WRITER.spiffe_id, "act": {"sub": ANALYST.spiffe_id}},
            "jti": GRANT,
            "iat": NOW,
            "exp": NOW + 120,
            "authorization_details": OCCASION.scope.to_details(),
            "txn": "task",
        }
        made = lease.credential
        assert (made.profile, made.kind, made.user, made.expires_at) == ("service-token", "token", None, NOW + 120)
        assert (lease.occasion.service, lease.root, lease.login, lease.lease_id) == (name, chain.ids[0], None, None)
        assert (await w.mint.destroy(lease), await w.mint.renew(lease)) == (None, lease)
        assert await w.mint.renew(replace(lease, ttl=9)) == replace(lease, ttl=9)
    assert left(w) == (0, 0, 0)
    with pytest.raises(Refused) as refused:
        await minted(w, chain, profile(w, "service-token"), occasion=replace(OCCASION, service=""))
    assert refused.value.code == "credential.audience"


async def test_a_token_is_made_only_for_who_is_live(w: World) -> None:
    task, chain = await two(w)
    await w.state(task, Event.REVOKED, by="carol")
    with pytest.raises(NotLive):
        await minted(w, chain, profile(w, "service-token"))


WHILE = ["POST auth/remit-step", f"POST {AT}", "GET database/creds", "GET auth/token/lookup-self"]


@pytest.mark.parametrize("moment", WHILE)
@pytest.mark.parametrize("after", [False, True])
async def test_who_is_revoked_while_it_is_made_gets_nothing(w: World, moment: str, after: bool) -> None:
    task, chain = await two(w)
    if (moment, after) == (WHILE[-1], True):
        return  # the standing has been asked for at the same time; whoever states now finds the record
    w.vault.meanwhile(moment, lambda: w.state(task, Event.REVOKED, by="carol"), after=after)
    with pytest.raises(NotLive) as refused:
        await minted(w, chain)
    assert refused.value.status == "revoked"
    assert left(w) == (0, 0, 0)


async def test_who_is_suspended_while_it_is_made_is_told_so(w: World) -> None:
    _, chain = await two(w)
    w.vault.meanwhile("GET database/creds", lambda: w.state(ANALYST, Event.SUSPENDED, by="carol"))
    with pytest.raises(NotLive) as refused:
        await minted(w, chain)
    assert (refused.value.status, refused.value.subject) == ("suspended", ANALYST.spiffe_id)
    assert left(w) == (0, 0, 0)


async def test_a_record_that_is_written_late_does_not_outlive_its_lease(w: World) -> None:
    """The login is found ended while the record, with the lease's id, is still on its way."""
    _, chain = await two(w)

    async def slow() -> None:
        for _ in range(100):
            await asyncio.sleep(0)

    async def ended() -> None:
        await w.vault.write("auth/token/revoke-accessor", accessor="a1")
        w.vault.meanwhile(f"POST {AT}", slow)

    w.vault.meanwhile("GET database/creds", ended, after=True)
    with pytest.raises(NotLive):
        await minted(w, chain)
    await slow()
    assert left(w) == (0, 0, 0)


async def test_whose_login_was_ended_while_it_was_made_gets_nothing(w: World) -> None:
    _, chain = await two(w)
    w.vault.meanwhile("GET auth/token/lookup-self", lambda: w.vault.write("auth/token/revoke-accessor", accessor="a1"))
    with pytest.raises(NotLive) as refused:
        await minted(w, chain)
    assert (refused.value.status, refused.value.subject) == ("revoked", chain.leaf.jti)
    assert left(w) == (0, 0, 0)


@pytest.mark.parametrize(
    ("broken", "remains"),
    [
        ("POST auth/remit-step", (0, 0, 0)),
        (f"POST {AT}", (0, 0, 0)),
        ("GET database/creds", (0, 0, 0)),
        ("GET auth/token/lookup-self", (0, 0, 0)),
        ("GET remit/data/epoch", (0, 0, 0)),
    ],
)
async def test_an_outage_on_the_way_leaves_nothing_behind(w: World, broken: str, remains: tuple[int, int, int]) -> None:
    _, chain = await two(w)
    await w.standing.require_live(chain)
    w.vault.kept.broken[broken] = 503
    if broken == "POST auth/remit-step":
        w.vault.kept.broken["POST auth/remit-step"] = 503

        async def down() -> None:
            raise Held("down", code="vault.sealed")

        w.vault.meanwhile(broken, down)
    with pytest.raises(Held) as held:
        await minted(w, chain)
    assert held.value.code == "vault.sealed"
    live, leases, records = left(w)
    assert (live, leases) == remains[:2]
    assert records <= 1 if broken == f"POST {AT}" else records == 0


async def test_nothing_to_read_is_a_refusal_and_leaves_nothing(w: World) -> None:
    _, chain = await two(w)
    w.vault._secrets.clear()
    with pytest.raises(Refused) as refused:
        await minted(w, chain, profile(w, "weather-api"))
    assert refused.value.code == "credential.absent"
    assert "remit-secrets/data/weather-api" in refused.value.message
    assert left(w) == (0, 0, 0)


async def test_a_role_opens_its_own_path_only(w: World) -> None:
    _, chain = await two(w)
    with pytest.raises(Refused) as refused:
        await minted(w, chain, profile(w, role="reports-rw"))
    assert refused.value.code == "vault.forbidden"
    assert left(w) == (0, 0, 0)
    assert w.vault.kept.minted == []


async def held(w: World, moment: str, call: Callable[[], Awaitable[object]]) -> tuple[asyncio.Task[Any], asyncio.Event]:
    """Begin a call and return once it waits at this request, with what lets it go on."""
    there, go = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        there.set()
        await go.wait()

    w.vault.meanwhile(moment, wait)
    task = asyncio.ensure_future(call())
    await there.wait()
    return task, go


async def test_a_request_that_mints_is_awaited_although_nobody_waits_any_more(w: World) -> None:
    _, chain = await two(w)
    task, go = await held(w, "GET database/creds", lambda: minted(w, chain))
    task.cancel()
    await asyncio.sleep(0)
    assert left(w) == (1, 0, 1)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert w.vault.kept.minted == ["database/creds/flights-ro"]
    assert left(w) == (0, 0, 0)


async def test_a_request_that_mints_and_fails_when_nobody_waits_any_more_is_no_error_of_anybody(w: World) -> None:
    _, chain = await two(w)
    task, go = await held(w, "GET database/creds", lambda: minted(w, chain))
    w.vault.kept.broken["GET database/creds"] = 503
    told: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        gc.collect()
        await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(None)
    assert told == []
    assert left(w) == (0, 0, 0)


async def test_who_gives_up_at_the_fence_leaves_nothing(w: World) -> None:
    _, chain = await two(w)
    task, go = await held(w, "GET auth/token/lookup-self", lambda: minted(w, chain))
    assert left(w) == (1, 1, 1)
    task.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left(w) == (0, 0, 0)


async def test_one_mount_makes_only_so_many_at_once_and_a_secret_waits_for_nobody(
    w: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mint, "AT_ONCE", 1)
    _, chain = await two(w)
    first, go = await held(w, "GET database/creds", lambda: minted(w, chain))
    second = asyncio.ensure_future(minted(w, chain, profile(w, path="database/static-creds/flights-ro")))
    secret, read = await held(w, "GET remit-secrets", lambda: minted(w, chain, profile(w, "weather-api")))
    await minted(w, chain, profile(w, "weather-api"))
    read.set()
    await secret
    other = profile(w, path="other/creds/flights-ro")
    with pytest.raises(Refused):
        await minted(w, chain, other)  # there is no such mount, but nobody had to wait to learn that
    assert w.vault.kept.minted == ["remit-secrets/data/weather-api"] * 2
    assert not any("static-creds" in path for _, path, _ in w.vault.kept.asked)
    go.set()
    await first
    with pytest.raises(Refused):
        await second
    assert any("static-creds" in path for _, path, _ in w.vault.kept.asked)


async def test_destroying_what_has_died_already_is_no_failure(w: World) -> None:
    _, chain = await two(w)
    lease = await minted(w, chain)
    assert await w.mint.destroy(lease) is None
    assert await w.mint.destroy(lease) is None
    assert left(w) == (0, 0, 0)


async def test_a_credential_is_dead_before_its_login_is_ended(w: World) -> None:
    _, chain = await two(w)
    lease = await minted(w, chain)
    w.vault.kept.asked.clear()
    assert await w.mint.revoke(lease) is None
    assert left(w) == (1, 0, 1)
    assert w.vault.kept.asked == [("POST", f"sys/leases/revoke/{lease.lease_id}", {"sync": True})]
    assert await w.mint.end(lease, forget=False) is None
    assert left(w) == (0, 0, 1)
    assert await w.mint.end(lease) is None
    assert left(w) == (0, 0, 0)


@pytest.mark.parametrize(
    ("broken", "status", "code", "remains"),
    [
        ("POST sys/leases/revoke", 500, "vault.failed", (0, 0, 1)),
        ("POST auth/token/revoke-accessor", 503, "vault.sealed", (0, 0, 1)),
        ("POST auth/token/revoke-accessor", 403, "vault.forbidden", (0, 0, 1)),
        (f"DELETE {AT}", 503, "vault.sealed", (0, 0, 0)),
    ],
)
async def test_what_cannot_be_destroyed_now_says_why_and_keeps_its_record(
    w: World, broken: str, status: int, code: str, remains: tuple[int, int, int]
) -> None:
    _, chain = await two(w)
    lease = await minted(w, chain)
    w.vault.kept.broken[broken] = status
    assert await w.mint.destroy(lease) == code
    assert left(w) == remains
    w.vault.kept.broken.clear()
    assert await w.mint.destroy(lease) is None
    assert left(w) == (0, 0, 0)


@pytest.mark.parametrize(("later", "seconds"), [(0, 45), (260, 40), (299, 1), (400, 1)])
async def test_a_lease_is_renewed_by_its_own_life_and_never_beyond_its_end(w: World, later: int, seconds: int) -> None:
    _, chain = await two(w)
    lease = await minted(w, chain)
    w.vault.kept.asked.clear()
    w.now += later
    renewed = await w.mint.renew(lease)
    assert w.vault.kept.asked == [
        ("POST", "auth/token/renew-self", {"increment": seconds}),
        ("POST", "sys/leases/renew", {"lease_id": lease.lease_id, "increment": seconds}),
    ]
    assert renewed == replace(lease, credential=replace(lease.credential, expires_at=NOW + later + seconds))


async def test_only_the_login_of_a_secret_is_renewed(w: World) -> None:
    _, chain = await two(w)
    lease = await minted(w, chain, profile(w, "weather-api"))
    w.vault.kept.asked.clear()
    await w.mint.renew(lease)
    assert [path for _, path, _ in w.vault.kept.asked] == ["auth/token/renew-self"]
    assert await w.mint.renew(replace(lease, ttl=0)) == replace(lease, ttl=0)


async def test_a_lease_that_is_gone_cannot_be_renewed(w: World) -> None:
    _, chain = await two(w)
    lease = await minted(w, chain)
    await w.mint.destroy(lease)
    with pytest.raises(Refused):
        await w.mint.renew(lease)
