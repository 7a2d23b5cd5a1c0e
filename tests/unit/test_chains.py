"""Chains by reference: verified once, dated anew each time, and of use in the execution they were made for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from remit import chains as chains_module
from remit.chain import chain_digest
from remit.chains import Chains
from remit.delegation import Reference, Scope
from remit.errors import Held, InvalidDocument, NotLive, Refused
from tests.unit.documents import NOW, user, uuid
from tests.unit.world import Task, World, world


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.fixture
def chains(w: World) -> Chains:
    return w.authority._chains


async def test_a_chain_is_verified_once_and_known_from_then_on(w: World, chains: Chains) -> None:
    task = await w.narrower(await w.delegate())
    assert chains.known(task.reference) is None
    with patch.object(chains_module, "verify_chain", side_effect=chains_module.verify_chain) as verified:
        first = await chains.load(task.reference, epoch="a")
        assert first.links == task.links
        assert await chains.load(task.reference, epoch="b") is first
        assert chains.known(task.reference) is first
        assert verified.call_count == 1
    assert chains.known(Reference(task.reference.delegation, "A" * 43)) is None


async def test_its_root_is_asked_for_under_every_epoch(w: World, chains: Chains) -> None:
    task = await w.delegate()
    await chains.load(task.reference, epoch="a")
    await w.enter(user("alice"), key="alice-fresh")
    await chains.load(task.reference, epoch="a")
    with pytest.raises(InvalidDocument) as refused:
        await chains.load(task.reference, epoch="b")
    assert refused.value.code == "principal.unknown-key"


async def test_a_chain_that_breaks_a_rule_is_refused_every_time(w: World, chains: Chains) -> None:
    task = await w.narrower(await w.delegate(), scope=Scope(("read",), ("hr",), 1))
    for _ in range(2):
        with pytest.raises(InvalidDocument) as refused:
            await chains.load(task.reference, epoch="a")
        assert refused.value.code == "chain.spaces"
    assert chains.known(task.reference) is None


async def test_an_audience_and_groups_are_the_deployments_own(w: World) -> None:
    task = await w.narrower(await w.delegate(), scope=Scope(("dataset:query",), ("flights",), 1))
    options = {"standing": w.standing, "clock": w.clock}
    other = Chains(w.registry, audience="remit:elsewhere", groups=w.policy.groups, **options)  # type: ignore[arg-type]
    ungrouped = Chains(w.registry, audience="remit:remit.local", groups={}, **options)  # type: ignore[arg-type]
    for made, code in ((other, "chain.aud"), (ungrouped, "chain.actions")):
        with pytest.raises(InvalidDocument) as refused:
            await made.load(task.reference, epoch="a")
        assert refused.value.code == code
        with pytest.raises(InvalidDocument) as refused:
            await made.extended(task.jws, epoch="a")
        assert refused.value.code == code


async def test_what_is_not_there_is_revoked(w: World, chains: Chains) -> None:
    with pytest.raises(NotLive) as refused:
        await chains.load(Reference(uuid(1), "A" * 43), epoch="a")
    assert (refused.value.code, refused.value.status, refused.value.subject) == ("chain.revoked", "revoked", uuid(1))


async def test_a_copy_under_another_id_is_not_that_delegation(w: World, chains: Chains) -> None:
    task = await w.delegate()
    where = {"parent": None, "namespace": "default", "workflow_id": "another"}
    await w.registry.put_delegation(task.jws[0], jti=uuid(1), **where)  # type: ignore[arg-type]
    with pytest.raises(InvalidDocument) as refused:
        await chains.load(Reference(uuid(1), task.reference.digest), epoch="a")
    assert (refused.value.code, refused.value.rule) == ("chain.reference", 15)
    assert (await chains.load(task.reference, epoch="a")).links == task.links


@pytest.mark.parametrize("now", [NOW + 630, NOW + 9_000])
async def test_a_chain_whose_time_is_over_has_expired_by_the_link_that_ends_first(
    w: World, chains: Chains, now: int
) -> None:
    task = await w.narrower(await w.delegate(), exp=NOW + 600)
    await chains.load(task.reference, epoch="a")
    w.now = now - 1 if now < NOW + 700 else now
    if now < NOW + 700:
        await chains.load(task.reference, epoch="a")
    w.now = now
    with pytest.raises(NotLive) as refused:
        await chains.load(task.reference, epoch="a")
    error = refused.value
    assert (error.code, error.status, error.subject) == ("chain.expired", "expired", task.links[-1].jti)
    assert "has expired" in error.message
    assert (await chains.load(task.reference, epoch="a", timely=False)).links == task.links


async def test_a_chain_before_its_time_breaks_a_rule(w: World, chains: Chains) -> None:
    task = await w.delegate(iat=NOW + 31, nbf=NOW + 31)
    with pytest.raises(InvalidDocument) as refused:
        await chains.load(task.reference, epoch="a")
    assert refused.value.code == "chain.not-yet"


async def test_so_many_are_kept(w: World, chains: Chains) -> None:
    tasks = [await w.delegate() for _ in range(5)]
    with patch.object(chains_module, "CACHED", 2):
        for task in tasks:
            await chains.load(task.reference, epoch="a")
    known = [chains.known(task.reference) is not None for task in tasks]
    assert known == [False, False, False, False, True]
    assert len(chains._verified) == 1


async def test_a_chain_down_to_a_delegation(w: World, chains: Chains) -> None:
    above = await w.delegate()
    task = await w.narrower(above)
    assert (await chains.down_to(task.links[-1].jti, epoch="a")).links == task.links
    assert (await chains.down_to(above.links[0].jti, epoch="a")).links == above.links
    w.now = NOW + 9_000
    assert (await chains.down_to(task.links[-1].jti, epoch="a")).links == task.links
    with pytest.raises(Refused) as refused:
        await chains.down_to(uuid(1), epoch="a")
    assert refused.value.code == "delegation.unknown"
    await w.enter(user("alice"), key="alice-fresh")
    with pytest.raises(InvalidDocument) as unknown:
        await chains.down_to(task.links[-1].jti, epoch="b")
    assert unknown.value.code == "principal.unknown-key"


async def test_a_chain_down_to_a_delegation_is_never_endless(w: World, chains: Chains) -> None:
    task = await w.delegate()
    for number in (1, 2):
        parent = uuid(3 - number)
        await w.registry.put_delegation(
            task.jws[0], jti=uuid(number), parent=parent, namespace="default", workflow_id="task"
        )
    w.vault.kept.asked.clear()
    with pytest.raises(InvalidDocument):
        await chains.down_to(uuid(1), epoch="a")
    assert len([path for _, path, _ in w.vault.kept.asked if "/delegations/" in path]) <= 16


async def test_a_chain_of_links_that_are_not_stored_is_verified_now(w: World, chains: Chains) -> None:
    task = await w.narrower(await w.delegate())
    made = await chains.extended(task.jws, epoch="a")
    assert made.reference == Reference(task.links[-1].jti, chain_digest(task.jws))
    w.now = NOW + 9_000
    with pytest.raises(InvalidDocument) as refused:
        await chains.extended(task.jws, epoch="a")
    assert refused.value.code == "chain.expired"
    await w.enter(user("alice"), key="alice-fresh")
    with pytest.raises(InvalidDocument) as refused:
        await chains.extended(task.jws, epoch="b")
    assert refused.value.code == "principal.unknown-key"


async def bound(chains: Chains, made: Task, **place: str) -> str:
    where = {"namespace": "default", "task": "task", "first_run": "run-1"}
    try:
        await chains.require_bound(made.reference.delegation, **{**where, **place})
    except Refused as error:
        return error.code
    return ""


async def test_a_delegation_belongs_to_the_execution_it_was_made_for(w: World, chains: Chains) -> None:
    task = await w.delegate()
    assert await bound(chains, task) == ""
    assert await bound(chains, task) == ""
    for place in ({"task": "another"}, {"namespace": "another"}, {"first_run": "run-2"}):
        assert await bound(chains, task, **place) == "delegation.other-task"
    await w.registry.allow_task(task.reference.delegation, workflow_id="another")
    assert await bound(chains, task, task="another", first_run="run-5") == ""
    assert await bound(chains, task, task="another", first_run="run-6") == "delegation.other-task"
    other = await w.delegate()
    w.vault.kept.broken["POST remit/data/runs"] = 503
    with pytest.raises(Held):
        await bound(chains, other)


@pytest.mark.parametrize("record", [{}, {"jws": 7}, {"jws": ["a"], "parent": 7, "namespace": {}, "workflow_id": None}])
async def test_a_record_that_is_no_delegation_is_refused_and_listed(w: World, chains: Chains, record: Any) -> None:
    await w.registry.documents.create(f"delegations/{uuid(78)}", record)
    with pytest.raises(InvalidDocument) as refused:
        await chains.load(Reference(uuid(78), chain_digest([""])), epoch="a")
    assert refused.value.code == "jws.form"
    assert uuid(78) in await w.registry.delegations()
    assert not await w.registry.bind_run(uuid(78), namespace="default", workflow_id="task", first_run_id="run")


async def test_a_name_that_is_none_is_not_listed(w: World) -> None:
    await w.registry.documents.create("delegations/Not-A-Name", {"jws": "x"})
    assert await w.registry.delegations() == []
