"""Destroying: everything live under a subject dies, credentials first, and what does not is named and kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from remit.attempt import Grant
from remit.destroying import AT_ONCE, ROUNDS, Destroying, stands_under
from remit.errors import Held
from remit.live import LeaseRecord
from remit.statements import DelegationSubject
from tests.unit.documents import user, uuid
from tests.unit.world import ANALYST, WRITER, Task, World, world


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.fixture
def destroying(w: World) -> Destroying:
    return Destroying(w.registry, w.vault)


async def running(w: World, task: Task, *steps: int) -> list[Grant]:
    """Begin steps with a credential each."""
    return [await w.authorize(task.attempt(credential="flights-ro", step=step, activity=str(step))) for step in steps]


def left(w: World) -> tuple[int, int, int]:
    kept = w.vault.kept
    return sum(one.alive for one in kept.logins.values()), len(kept.leases), len(kept.live)


async def found(w: World, root: str) -> LeaseRecord:
    (one,) = await w.registry.live.leases(root)
    return one


async def test_all_leases_under_a_delegation_die_and_no_other(w: World, destroying: Destroying) -> None:
    task, other = await w.delegate(), await w.delegate(by="bob", task="other")
    grants = await running(w, task, 1, 2, 3)
    await w.authorize(other.attempt(credential="flights-ro"))
    before = time.monotonic()
    done = await destroying.under(task.subject, root=task.links[0].jti)
    assert set(done.dead) == {one.id for one in grants}
    assert done.pending == {}
    assert done.last == max(done.dead.values())
    assert before <= min(done.dead.values()) <= time.monotonic()
    assert left(w) == (1, 1, 1)
    again = await destroying.under(task.subject, root=task.links[0].jti)
    assert (again.dead, again.pending, again.last) == ({}, {}, None)


async def test_only_what_is_below_the_subject_dies(w: World, destroying: Destroying) -> None:
    above = await w.delegate()
    below = await w.narrower(above)
    await running(w, above, 1)
    w.vault.kept.live[f"remit-live/leases/{above.links[0].jti}/{uuid(5)}"] = facts(below)
    done = await destroying.under(below.subject, root=above.links[0].jti)
    assert set(done.dead) == {uuid(5)}
    assert left(w) == (1, 1, 1)
    assert len((await destroying.under(above.subject, root=above.links[0].jti)).dead) == 1


def facts(task: Task) -> dict[str, Any]:
    """Return the record of a login that was ended already."""
    people = [task.links[0].sub, *(link.delegate for link in task.links)]
    chain = [link.jti for link in task.links]
    return {"accessor": "a9", "lease": None, "chain": chain, "principals": [one.spiffe_id for one in people]}


async def test_all_leases_through_a_principal_die_whatever_their_root(w: World, destroying: Destroying) -> None:
    await running(w, await w.delegate(task="hers"), 1)
    await running(w, await w.delegate(task="also hers"), 2)
    await running(w, await w.delegate(by="bob", task="his"), 3)
    assert left(w) == (3, 3, 3)
    done = await destroying.under(user("bob"), root=None)
    assert (len(done.dead), left(w)) == (1, (2, 2, 2))
    assert (await destroying.under(WRITER, root=None)).dead == {}
    assert len((await destroying.under(ANALYST, root=None)).dead) == 2
    assert left(w) == (0, 0, 0)


@pytest.mark.parametrize(
    ("about", "under"),
    [
        (user("alice"), True),
        (ANALYST, True),
        (WRITER, False),
        (user("bob"), False),
        (DelegationSubject(uuid(1), user("alice")), True),
        (DelegationSubject(uuid(2), ANALYST), True),
        (DelegationSubject(uuid(3), ANALYST), False),
    ],
)
def test_what_stands_under_what(about: Any, under: bool) -> None:
    people = [user("alice").spiffe_id, ANALYST.spiffe_id]
    assert stands_under({"principals": people, "chain": [uuid(1), uuid(2)]}, about) is under


async def test_all_credentials_are_dead_before_the_first_login_is_ended(w: World, destroying: Destroying) -> None:
    task = await w.delegate()
    await running(w, task, 1, 2, 3)
    seen: list[tuple[int, int, int]] = []
    w.vault.kept.asked.clear()
    await destroying.under(task.subject, root=task.links[0].jti, credentials_dead=lambda: seen.append(left(w)))
    assert seen == [(3, 0, 3), (0, 0, 0)]
    posts = [(path.split("/")[0], body) for method, path, body in w.vault.kept.asked if method == "POST"]
    assert [path for path, _ in posts] == ["sys"] * 3 + ["auth"] * 3
    assert all(body == {"sync": True} for path, body in posts if path == "sys")
    assert [method for method, _, _ in w.vault.kept.asked].count("DELETE") == 3


async def test_what_is_minted_meanwhile_is_found_by_the_next_look(w: World, destroying: Destroying) -> None:
    task = await w.delegate()
    await running(w, task, 1)
    w.vault.meanwhile("DELETE remit-live", lambda: running(w, task, 2), after=True)
    done = await destroying.under(task.subject, root=task.links[0].jti)
    assert (len(done.dead), done.pending, left(w)) == (2, {}, (0, 0, 0))


async def test_a_login_without_a_credential_is_ended_at_once(w: World, destroying: Destroying) -> None:
    task = await w.delegate()
    (grant,) = await running(w, task, 1)
    path = f"remit-live/leases/{task.links[0].jti}/{grant.id}"
    w.vault.kept.live[path] = {**w.vault.kept.live[path], "lease": None}
    seen: list[tuple[int, int, int]] = []
    done = await destroying.under(task.subject, root=task.links[0].jti, credentials_dead=lambda: seen.append(left(w)))
    assert seen[0] == (0, 0, 1)
    assert (set(done.dead), done.pending, left(w)) == ({grant.id}, {}, (0, 0, 0))


@pytest.mark.parametrize(
    ("broken", "status", "code", "remains"),
    [
        ("POST sys/leases/revoke", 500, "vault.failed", (0, 0, 1)),
        ("POST auth/token/revoke-accessor", 503, "vault.sealed", (0, 0, 1)),
        ("POST auth/token/revoke-accessor", 403, "vault.forbidden", (0, 0, 1)),
    ],
)
async def test_what_does_not_die_is_named_and_keeps_its_record(
    w: World, destroying: Destroying, broken: str, status: int, code: str, remains: tuple[int, int, int]
) -> None:
    task = await w.delegate()
    (grant,) = await running(w, task, 1)
    w.vault.kept.broken[broken] = status
    w.vault.kept.asked.clear()
    done = await destroying.under(task.subject, root=task.links[0].jti)
    assert (done.dead, done.pending, done.last) == ({}, {grant.id: code}, None)
    assert left(w) == remains
    listed = [path for method, path, _ in w.vault.kept.asked if method == "LIST"]
    assert len(listed) == ROUNDS
    assert await destroying.destroy(await found(w, task.links[0].jti)) == code
    w.vault.kept.broken.clear()
    assert await destroying.destroy(await found(w, task.links[0].jti)) is None
    assert left(w) == (0, 0, 0)


async def test_the_first_reason_is_told(w: World, destroying: Destroying) -> None:
    task = await w.delegate()
    (grant,) = await running(w, task, 1)
    w.vault.kept.broken |= {"POST sys/leases/revoke": 500, "POST auth/token/revoke-accessor": 403}
    assert (await destroying.under(task.subject, root=task.links[0].jti)).pending == {grant.id: "vault.failed"}


async def test_what_died_in_a_later_look_is_not_pending(w: World, destroying: Destroying) -> None:
    task = await w.delegate()
    (grant,) = await running(w, task, 1)
    w.vault.kept.broken["POST sys/leases/revoke"] = 500

    async def mended() -> None:
        w.vault.kept.broken.clear()

    w.vault.meanwhile("POST auth/token/revoke-accessor", mended)
    done = await destroying.under(task.subject, root=task.links[0].jti)
    assert (set(done.dead), done.pending, left(w)) == ({grant.id}, {}, (0, 0, 0))


async def test_a_lease_that_cannot_be_forgotten_is_pending(w: World, destroying: Destroying) -> None:
    task = await w.delegate()
    (grant,) = await running(w, task, 1)
    w.vault.kept.broken["DELETE remit-live"] = 503
    assert await destroying.destroy(await found(w, task.links[0].jti)) == "vault.sealed"
    done = await destroying.under(task.subject, root=task.links[0].jti)
    assert done.dead == {} or grant.id in done.dead


async def test_what_is_live_cannot_be_listed(w: World, destroying: Destroying) -> None:
    task = await w.delegate()
    w.vault.kept.broken["LIST remit-live"] = 503
    with pytest.raises(Held):
        await destroying.under(task.subject, root=task.links[0].jti)


async def test_only_so_many_die_at_once(w: World, destroying: Destroying) -> None:
    task = await w.delegate()
    await running(w, task, *range(1, AT_ONCE + 4))
    under_way = most = 0

    async def slow() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(20):
            await asyncio.sleep(0)
        under_way -= 1

    for _ in range(AT_ONCE + 3):
        w.vault.kept.before.append(("POST sys/leases/revoke", slow))
    await destroying.under(task.subject, root=task.links[0].jti)
    assert most == AT_ONCE
