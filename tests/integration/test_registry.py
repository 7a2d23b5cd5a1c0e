"""The registry on the real OpenBao, each caller with its own rights."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from remit import jose
from remit.chain import chain_digest
from remit.delegation import Reference
from remit.errors import Held, InvalidDocument, Refused
from remit.principals import Principal
from remit.registry import Registry
from remit.statements import DelegationSubject
from tests.integration.site import Site, site

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
async def made(openbao: Any) -> AsyncIterator[Site]:
    async with site(openbao) as one:
        yield one


@pytest.fixture
def alice(made: Site) -> Registry:
    return Registry(made.person("alice"))


@pytest.fixture
def analyst(made: Site) -> Registry:
    return Registry(made.agent("flight-analyst"))


@pytest.fixture
def authority(made: Site) -> Registry:
    return Registry(made.authority)


def new() -> str:
    return str(uuid.uuid4())


async def stored(registry: Registry, jws: str, parent: str | None = None, workflow_id: str = "task-1") -> str:
    jti = new()
    await registry.put_delegation(jws, jti=jti, parent=parent, namespace="default", workflow_id=workflow_id)
    return jti


def domain(made: Site, kind: Any, name: str) -> Principal:
    return Principal(made.catalogue.trust_domain, kind, name)


# Delegations


async def test_a_delegation_is_stored_once(alice: Registry, analyst: Registry, authority: Registry) -> None:
    for registry in (alice, analyst, authority):
        jti = await stored(registry, "a.b.c")
        facts: dict[str, Any] = {"jti": jti, "parent": None, "namespace": "default", "workflow_id": "task-1"}
        await registry.put_delegation("a.b.c", **facts)  # the same again
        with pytest.raises(Refused) as caught:
            await registry.put_delegation("x.y.z", **facts)
        assert caught.value.code == "registry.exists"
        record = await authority.delegation(jti)
        assert record is not None
        assert (record.jws, record.parent, record.namespace, record.workflow_id) == ("a.b.c", None, "default", "task-1")
    assert await authority.delegation(new()) is None


async def test_a_chain_is_read_from_its_leaf_up(alice: Registry, analyst: Registry) -> None:
    root = await stored(alice, "r.r.r")
    middle = await stored(analyst, "m.m.m", root)
    leaf = await stored(analyst, "l.l.l", middle)
    links = ("r.r.r", "m.m.m", "l.l.l")
    reader = Registry(analyst.live._vault)
    assert await reader.links(Reference(leaf, chain_digest(links))) == links
    with pytest.raises(InvalidDocument) as caught:
        await reader.links(Reference(leaf, chain_digest(links[:2])))
    assert caught.value.code == "chain.digest"
    assert await reader.links(Reference(new(), chain_digest(links))) is None
    orphan = await stored(analyst, "o.o.o", new())
    assert await reader.links(Reference(orphan, chain_digest(["o.o.o"]))) is None


async def test_a_chain_that_goes_in_a_circle_or_on_and_on_ends(analyst: Registry) -> None:
    first, second = new(), new()
    await analyst.put_delegation("a.a.a", jti=first, parent=second, namespace="default", workflow_id="w")
    await analyst.put_delegation("b.b.b", jti=second, parent=first, namespace="default", workflow_id="w")
    parent = None
    for number in range(9):
        parent = await stored(analyst, f"{number}.x.y", parent)
    for leaf in (first, parent):
        assert leaf is not None
        with pytest.raises(InvalidDocument) as caught:
            await analyst.links(Reference(leaf, "d" * 43))
        assert caught.value.code == "chain.links"


async def test_a_known_chain_is_not_read_again(made: Site, alice: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    jti = await stored(alice, "k.k.k")
    reference = Reference(jti, chain_digest(["k.k.k"]))
    assert await alice.links(reference) == ("k.k.k",)
    monkeypatch.setattr(alice, "documents", None)
    assert await alice.links(reference) == ("k.k.k",)


# Executions


async def test_a_delegation_belongs_to_the_execution_it_was_made_for(alice: Registry, authority: Registry) -> None:
    jti = await stored(alice, "b.b.b", workflow_id="agent task/ä")
    facts: dict[str, Any] = {"namespace": "default", "workflow_id": "agent task/ä"}
    assert await authority.bind_run(jti, first_run_id="run-1", **facts)
    assert await authority.bind_run(jti, first_run_id="run-1", **facts)
    other = Registry(authority.live._vault)  # another process, with nothing cached
    assert await other.bind_run(jti, first_run_id="run-1", **facts)
    for changed in (
        {"first_run_id": "run-2"},
        {"workflow_id": "other", "first_run_id": "run-1"},
        {"namespace": "other", "first_run_id": "run-1"},
    ):
        assert not await other.bind_run(jti, **{**facts, **changed})
        assert not await authority.bind_run(jti, **{**facts, **changed})
    assert not await authority.bind_run(new(), first_run_id="run-1", **facts)


async def test_a_child_execution_is_bound_once_it_was_allowed(alice: Registry, authority: Registry) -> None:
    jti = await stored(alice, "c.c.c", workflow_id="parent")
    child: dict[str, Any] = {"namespace": "default", "workflow_id": "child"}
    assert not await authority.bind_run(jti, first_run_id="c-1", **child)
    await authority.allow_task(jti, workflow_id="child")
    await authority.allow_task(jti, workflow_id="child")
    assert await authority.tasks(jti) == {"parent": None, "child": None}
    assert await authority.bind_run(jti, first_run_id="c-1", **child)
    assert not await authority.bind_run(jti, first_run_id="c-2", **child)
    await authority.allow_task(jti, workflow_id="child")  # allows no second one
    assert await alice.tasks(jti) == {"parent": None, "child": "c-1"}


async def test_of_executions_that_race_one_is_bound(alice: Registry, made: Site) -> None:
    jti = await stored(alice, "d.d.d")
    authorities = [Registry(made.authority) for _ in range(6)]
    facts: dict[str, Any] = {"namespace": "default", "workflow_id": "task-1"}
    answers = await asyncio.gather(
        *(one.bind_run(jti, first_run_id=f"run-{number}", **facts) for number, one in enumerate(authorities))
    )
    assert sum(answers) == 1
    await asyncio.gather(*(one.allow_task(jti, workflow_id=f"child-{n}") for n, one in enumerate(authorities)))
    assert set(await alice.tasks(jti)) == {"task-1", *(f"child-{number}" for number in range(6))}


async def test_executions_that_enter_at_once_share_a_write(
    alice: Registry, authority: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    jti = await stored(alice, "e.e.e")
    names = [f"child-{number}" for number in range(60)]
    writes = []
    replace = type(authority.documents).replace

    async def counted(self: Any, path: str, record: Any, *, version: int) -> bool:
        writes.append(path)
        return await replace(self, path, record, version=version)

    monkeypatch.setattr(type(authority.documents), "replace", counted)
    facts: dict[str, Any] = {"namespace": "default"}
    await asyncio.gather(
        authority.bind_run(jti, workflow_id="task-1", first_run_id="run", **facts),
        *(authority.allow_task(jti, workflow_id=name) for name in names),
    )
    answers = await asyncio.gather(
        *(authority.bind_run(jti, workflow_id=name, first_run_id=f"r-{name}", **facts) for name in names),
        authority.bind_run(jti, workflow_id="never allowed", first_run_id="r", **facts),
        authority.bind_run(jti, workflow_id=names[0], first_run_id="another", **facts),
    )
    assert answers == [*([True] * 60), False, False]
    assert len(writes) <= 4
    assert await alice.tasks(jti) == {"task-1": "run", **{name: f"r-{name}" for name in names}}


# Statements and the epoch


async def test_a_statement_is_acknowledged_after_the_epoch_changed(alice: Registry, made: Site) -> None:
    about = DelegationSubject(new(), domain(made, "user", "alice"))
    before = await alice.epoch()
    assert before == await alice.epoch()
    jti = new()
    await alice.put_statement(about, jti, "s.s.s")
    after = await alice.epoch()
    assert after != before
    await alice.put_statement(about, jti, "s.s.s")  # the same again, after an outage
    assert await alice.epoch() != after
    with pytest.raises(Refused) as caught:
        await alice.put_statement(about, jti, "t.t.t")
    assert caught.value.code == "registry.exists"
    assert await Registry(made.authority).statements(about) == ["s.s.s"]


async def test_statements_about_each_kind_of_subject_stand_apart(alice: Registry, made: Site) -> None:
    delegation = DelegationSubject(new(), domain(made, "user", "alice"))
    subjects = [delegation, domain(made, "user", "bob"), domain(made, "agent", "report-writer")]
    for number, subject in enumerate(subjects):
        assert await alice.statements(subject) == []
        await alice.put_statement(subject, new(), f"{number}.a.a")
        await alice.put_statement(subject, new(), f"{number}.b.b")
    for number, subject in enumerate(subjects):
        assert sorted(await alice.statements(subject)) == [f"{number}.a.a", f"{number}.b.b"]


async def test_a_statement_that_was_removed_holds_everything_it_was_about(alice: Registry, made: Site) -> None:
    about = DelegationSubject(new(), domain(made, "user", "alice"))
    jti = new()
    await alice.put_statement(about, jti, "g.g.g")
    await made.admin.delete(f"remit/data/statements/delegation/{about.jti}/{jti}")
    with pytest.raises(Held) as caught:
        await Registry(made.authority).statements(about)
    assert caught.value.code == "registry.damaged"


async def test_an_old_epoch_written_back_is_still_a_new_one(made: Site, alice: Registry) -> None:
    seen = set()
    for _ in range(3):
        await made.person("alice").write("remit/data/epoch", data={"value": "always the same"})
        seen.add(await alice.epoch())
    assert len(seen) == 3


async def test_without_an_epoch_nothing_goes_on(openbao: Any) -> None:
    async with site(openbao, set_up=False) as one:
        with pytest.raises(Held) as caught:
            await Registry(one.admin).epoch()
        assert caught.value.code == "registry.empty"


async def test_neither_agents_nor_the_authority_can_stop_or_unstop(
    analyst: Registry, authority: Registry, made: Site
) -> None:
    about = DelegationSubject(new(), domain(made, "user", "alice"))
    for registry in (analyst, authority):
        with pytest.raises(Refused) as caught:
            await registry.put_statement(about, new(), "s.s.s")
        assert caught.value.code == "vault.forbidden"
    with pytest.raises(Refused):
        await analyst.raise_epoch()
    before = await analyst.epoch()
    await authority.raise_epoch()  # everybody reads again; no statement can be hidden by it
    assert await analyst.epoch() != before


# Approvals


async def test_an_approval_is_used_for_one_step_of_one_run(made: Site) -> None:
    jti = new()
    use = {"binding": "b" * 43, "run": "run-1", "step": 3}
    authorities = [Registry(made.authority) for _ in range(5)]
    assert all(await asyncio.gather(*(one.decisions.use("a.b.c", jti=jti, **use) for one in authorities)))
    for changed in ({"step": 4}, {"run": "run-2"}, {"binding": "c" * 43}):
        assert not await authorities[0].decisions.use("a.b.c", jti=jti, **{**use, **changed})
    assert not await authorities[0].decisions.use("a.b.other", jti=jti, **use)
    assert await Registry(made.person("bob")).decisions.used(jti) == "a.b.c"
    racing = new()
    answers = await asyncio.gather(
        *(one.decisions.use("a.b.c", jti=racing, **{**use, "step": number}) for number, one in enumerate(authorities))
    )
    assert sum(answers) == 1
    with pytest.raises(Refused):
        await Registry(made.person("bob")).decisions.use("a.b.c", jti=new(), **use)


# Principals


async def test_the_directory_names_keys_and_nobody_unknown(alice: Registry, made: Site) -> None:
    bob = await alice.principal(domain(made, "user", "bob"))
    assert bob is not None
    assert await alice.principal_by_kid(bob.key.kid) == bob
    assert bob.signing_key == await made.person("bob").entity_id()
    assert await alice.principal(domain(made, "user", "mallory")) is None
    assert await alice.principal(domain(made, "agent", "bob")) is None
    assert await alice.principal(Principal("elsewhere.example", "user", "bob")) is None
    assert await alice.principal_by_kid(jose.LocalSigner.generate().key.kid) is None
    for nonsense in ("", "../../etc/passwd", "x" * 43, "'; DROP TABLE", "a" * 10_000):
        assert await alice.principal_by_kid(nonsense) is None


async def test_an_old_key_of_a_principal_names_nobody(made: Site, alice: Registry) -> None:
    carol = domain(made, "user", "carol")
    operator = Registry(made.admin)
    old = await operator.principal(carol)
    assert old is not None
    before = await alice.epoch()
    fresh = jose.LocalSigner.generate().key
    from dataclasses import replace

    assert await operator.put_principal(replace(old, key=fresh))
    assert not await operator.put_principal(replace(old, key=fresh))
    assert await alice.epoch() != before
    assert await alice.principal_by_kid(old.key.kid) is None
    found = await alice.principal_by_kid(fresh.kid)
    assert found is not None
    assert found.principal == carol
    assert await operator.put_principal(old)


# Leases


async def test_live_leases_are_found_under_their_root_and_forgotten(authority: Registry, alice: Registry) -> None:
    root, other = new(), new()
    grants = [new() for _ in range(30)]
    await asyncio.gather(
        *(authority.live.record(root, grant, {"accessor": grant, "chain": [root]}) for grant in grants)
    )
    await authority.live.record(other, grants[0], {"accessor": "x"})
    found = await alice.live.leases(root)
    assert {record.grant for record in found} == set(grants)
    assert all(record.facts["accessor"] == record.grant and record.root == root for record in found)
    assert {record.root for record in await alice.live.all_leases()} >= {root, other}
    await asyncio.gather(*(alice.live.forget(root, grant) for grant in grants[:15]))
    await asyncio.gather(*(authority.live.forget(root, grant) for grant in grants))
    assert await alice.live.leases(root) == []
    assert {record.root for record in await alice.live.all_leases()} & {root, other} == {other}


async def test_agents_see_no_leases(analyst: Registry, alice: Registry) -> None:
    for call in (analyst.live.leases(new()), analyst.live.all_leases(), analyst.live.record(new(), new(), {})):
        with pytest.raises(Refused):
            await call
    with pytest.raises(Refused):
        await alice.live.record(new(), new(), {})  # people end leases and make none
