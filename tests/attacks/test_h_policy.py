"""Attacks 47, 49, 50 and 51: policies that break, clocks that lie, agents that were talked round or taken over."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from remit import jose
from remit.approvals import TYP as APPROVAL
from remit.assembly import Parts, assemble
from remit.delegation import TYP as DELEGATION
from remit.delegation import Scope
from remit.embedded import Stack
from remit.errors import NotLive, Refused, Usage
from remit.presentation import TYP as PRESENTATION
from remit.presentation import step_token_claims
from remit.principals import Principal
from remit.settings import Settings
from remit.step import Call
from remit.vault import TransitSigner
from tests.unit.policy.folders import folder

from ..integration.acting import Task, authorize, delegate
from ..integration.service import job, serving, submit, until
from ..integration.site import Site, site
from .effects import effects

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

BROKEN_POLICIES = {
    "a parse error": {"grants": "permit (principal, action, resource"},
    "an unknown action": {"grants": '@id("x") permit (principal, action == Action::"no:such", resource);'},
    "an empty set": {"grants": "", "guards": "", "approvals": ""},
    "a schema that is none": {"schema": "entity"},
}
OVERFLOWING = """
@id("counts-too-far")
forbid (principal, action in Action::"tool", resource)
when { context.run.step * 9223372036854775807 * 9223372036854775807 > 0 };
"""


# 47: policies.


@pytest.mark.parametrize("name", BROKEN_POLICIES)
async def test_47_with_broken_policies_no_worker_starts(
    settings: Settings, stack: Stack, parts: Parts, tmp_path: Path, name: str
) -> None:
    broken = settings.model_copy(update={"policies": folder(tmp_path, **BROKEN_POLICIES[name])})
    async with effects(stack, settings, parts) as seen:
        with pytest.raises(Usage) as refused:
            async with assemble(broken):
                pass
    assert refused.value.code == "policy.invalid"
    assert (seen.minted, seen.records, seen.others) == ([], [], [])


async def test_47_an_unknown_entity_is_denied(settings: Settings, stack: Stack, parts: Parts) -> None:
    task = await delegate(settings)
    async with effects(stack, settings, parts) as seen:
        with pytest.raises(Refused):
            await authorize(parts, task.attempt(Call("dataset:query", "nowhere", {}), credential="flights-ro"))
    seen.refused("policy.denied")


async def test_47_an_evaluation_error_is_denied(settings: Settings, stack: Stack, parts: Parts, tmp_path: Path) -> None:
    overflowing = settings.model_copy(update={"policies": folder(tmp_path, overflowing=OVERFLOWING)})
    task = await delegate(settings)
    async with assemble(overflowing) as others:
        async with effects(stack, settings, parts) as seen:
            with pytest.raises(Refused):
                await authorize(others, task.attempt(step=3, credential="flights-ro"))
        seen.refused("policy.denied")


async def test_47_an_exception_in_the_engine_is_denied(
    settings: Settings, stack: Stack, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> Any:
        raise RuntimeError("the engine broke")

    monkeypatch.setattr(parts.policy, "_decide", broken)
    task = await delegate(settings)
    async with effects(stack, settings, parts) as seen:
        with pytest.raises(Refused):
            await authorize(parts, task.attempt(credential="flights-ro"))
    seen.refused("policy.denied")


async def test_47_each_record_names_the_policies_it_was_decided_by(
    settings: Settings, stack: Stack, parts: Parts, tmp_path: Path
) -> None:
    stricter = '@id("nobody-reads") forbid (principal is Agent, action in Action::"read", resource);'
    changed = settings.model_copy(update={"policies": folder(tmp_path, stricter=stricter)})
    async with assemble(changed) as others, effects(stack, settings, parts) as seen:
        grant = await authorize(parts, (await delegate(settings)).attempt())
        await parts.authority.release(grant, outcome="ok")
        with pytest.raises(Refused):
            await authorize(others, (await delegate(settings)).attempt())
        assert parts.policy.digest != others.policy.digest
        named = (parts.policy.digest, others.policy.digest)
    assert [(one["outcome"], one["policy_set"]) for one in seen.records] == [
        ("permitted", named[0]), ("ok", named[0]), ("refused", named[1]),
    ]  # fmt: skip


# 49: clocks.


def shift(parts: Parts, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the authority's clock go ahead or behind; the agent's own, and OpenBao's, stay right."""
    seen: set[int] = set()

    def reach(one: object, depth: int) -> None:
        if id(one) in seen or depth > 3 or not type(one).__module__.startswith("remit."):
            return
        seen.add(id(one))
        if hasattr(one, "_clock"):
            monkeypatch.setattr(one, "_clock", lambda: time.time() + seconds)
        for inner in list(getattr(one, "__dict__", {}).values()):
            reach(inner, depth + 1)

    reach(parts.authority, 0)


@pytest.mark.parametrize("seconds", [28, -28])
async def test_49_half_a_minute_is_forgiven(
    settings: Settings, parts: Parts, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    task = await delegate(settings)
    shift(parts, seconds, monkeypatch)
    grant = await authorize(parts, task.attempt())
    await parts.authority.release(grant, outcome="ok")


@pytest.mark.parametrize("seconds", [300, -300])
async def test_49_five_minutes_are_not(
    settings: Settings, stack: Stack, parts: Parts, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    task = await delegate(settings, seconds=3600)
    shift(parts, seconds, monkeypatch)
    async with effects(stack, settings, parts) as seen:
        with pytest.raises(Refused) as refused:
            await authorize(parts, task.attempt(credential="flights-ro"))
    assert not refused.value.retryable
    seen.refused("presentation.expired" if seconds > 0 else "chain.not-yet")


async def test_49_a_clock_that_jumps_back_is_noticed_though_the_chain_was_verified(
    settings: Settings, stack: Stack, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await delegate(settings)
    grant = await authorize(parts, task.attempt())
    await parts.authority.release(grant, outcome="ok")
    shift(parts, -300, monkeypatch)
    async with effects(stack, settings, parts) as seen:
        with pytest.raises(Refused):
            await authorize(parts, task.attempt(step=2, credential="flights-ro"))
    seen.refused("chain.not-yet")


async def test_49_an_expired_chain_stays_expired_for_everybody_else(settings: Settings, parts: Parts) -> None:
    task = await delegate(settings, seconds=1)
    time.sleep(1.5)  # noqa: ASYNC251 - nothing else is to happen meanwhile
    with pytest.raises(NotLive):
        await authorize(parts, task.attempt())


@pytest.fixture(scope="module")
async def made(openbao: Any, postgres: Any) -> AsyncIterator[Site]:
    async with site(openbao, postgres=postgres) as one:
        yield one


def step_claims(made: Site, *, ahead: int = 0, **changed: Any) -> dict[str, Any]:
    domain = made.catalogue.trust_domain
    claims = step_token_claims(
        jti=str(uuid.uuid4()),
        issuer=f"spiffe://{domain}/authority",
        audience="openbao",
        now=int(time.time()) + ahead,
        root=str(uuid.uuid4()),
        delegation=str(uuid.uuid4()),
        chain="c" * 43,
        human=Principal(domain, "user", "alice"),
        agent=Principal(domain, "agent", "flight-analyst"),
        task="task",
        step=1,
        attempt=1,
        role="flights-ro",
    )
    return {**claims, **changed}


@pytest.mark.parametrize("ahead", [-300, -15, 300])
async def test_49_openbao_takes_no_step_token_of_a_wrong_clock(made: Site, ahead: int) -> None:
    signer = await TransitSigner.open(made.authority, "remit-authority")
    token = await jose.sign(step_claims(made, ahead=ahead), typ="step+jwt", signer=signer)
    with pytest.raises(Refused) as refused:
        await made.admin.step_login(token, role="flights-ro")
    assert refused.value.code == "vault.login"


# 50: agents that were talked round.

ASKED = {
    "a new tool": {"tool": "report.publish", "input": {"table": "mine", "sql": "select 1 as one"}},
    "a wider scope": {"tool": "sql.query", "input": {"dataset": "payroll", "sql": "select * from hr.payroll"}},
    "another destination": {"tool": "http.request", "input": {"service": "notify", "method": "POST", "body": {}}},
}


@pytest.mark.parametrize("name", ASKED)
async def test_50_what_an_output_asks_for_is_denied(settings: Settings, stack: Stack, parts: Parts, name: str) -> None:
    said = json.dumps({"next": ASKED[name], "purpose": "payroll"}).replace('"', '\\"')
    steps = f"[{{tool: sql.query, input: {{dataset: flights, sql: \"select '{said}' as remark\"}}}}]"
    wanted = job(
        steps,
        planner="{follow: output}",
        delegation="{actions: [read], spaces: [flights], budget: 20, expires_in: 1h, max_depth: 0}",
    )
    async with serving(settings):
        async with effects(stack, settings, parts) as seen:
            task = await submit(settings, wanted)
            shown = await until(settings, task, "failed")
        assert shown["error"]["code"] == "policy.denied"
        assert shown["purpose"] == "delay-review"
    assert [one["outcome"] for one in seen.records] == ["permitted", "ok", "refused"]
    assert [path for path in seen.minted if path.startswith(("database", "transit"))] == ["database/creds/flights-ro"]


async def handed(parts: Parts, parent: Task, *, by: str, to: str, actions: tuple[str, ...]) -> Task:
    child = f"{parent.id}-asked"
    reference = await parts.authority.delegating.delegate(
        parent=parent.reference,
        agent=to,
        scope=Scope(actions, ("flights",), 5),
        expires_in=300,
        max_depth=2,
        namespace="default",
        task=parent.id,
        first_run=parent.run,
        child=child,
        signer=await parts.presenter.signer(Principal("remit.local", "agent", by)),
    )
    links = await parts.registry.links(reference)
    assert links is not None
    return Task(reference, links, child, str(uuid.uuid4()))


async def test_50_a_low_agent_gets_no_more_by_asking_a_high_one(settings: Settings, stack: Stack, parts: Parts) -> None:
    """What the analyst may do for itself counts nothing under a chain that begins with the writer's."""
    low = await delegate(settings, agent="report-writer", actions=("report:publish",))
    async with effects(stack, settings, parts) as seen:
        with pytest.raises(Refused) as wider:
            await handed(parts, low, by="report-writer", to="flight-analyst", actions=("read",))
        assert not wider.value.retryable
        asked = await handed(parts, low, by="report-writer", to="flight-analyst", actions=("report:publish",))
        with pytest.raises(Refused):
            await authorize(parts, asked.attempt(credential="flights-ro"))
    seen.refused("policy.denied")
    direct = await delegate(settings)
    grant = await authorize(parts, direct.attempt(credential="flights-ro"))
    await parts.authority.release(grant, outcome="ok")


# 51: a worker that was taken over, with the session of one agent.

STOLEN = str(uuid.UUID(int=7))


async def everything(made: Site) -> dict[str, Any]:
    """Return what an attacker could have changed, as the operator sees it."""
    found: dict[str, Any] = {}

    async def walk(mount: str, path: str) -> None:
        listed = await made.admin.list(f"{mount}{path}") or []
        for name in listed:
            if name.endswith("/"):
                await walk(mount, f"{path}/{name[:-1]}")
            else:
                found[f"{mount}{path}/{name}"] = True

    await walk("remit/metadata", "")
    await walk("remit-live", "/leases")
    for path in ("transit/keys", "identity/entity/name", "identity/entity-alias/id", "sys/policies/acl"):
        found[path] = sorted(await made.admin.list(path) or [])
    return found


async def test_51_one_agents_session_does_nothing_for_another(made: Site) -> None:
    analyst, writer = made.agent("flight-analyst"), made.agent("report-writer")
    own = await analyst.entity_id()
    keys = {
        "writer": await writer.entity_id(),
        "alice": await made.person("alice").entity_id(),
        "steps": "remit-authority",
        "tokens": "remit-token",
    }
    before = await everything(made)
    attempts: list[tuple[str, str, dict[str, Any] | None]] = []
    for key in keys.values():
        attempts += [
            ("POST", f"transit/sign/{key}", {"input": "aGk="}),
            ("POST", f"transit/sign/{key}", {"input": "aGk=", "key_version": 1}),
            ("POST", f"transit/keys/{key}/rotate", {}),
            ("POST", f"transit/keys/{key}/config", {"exportable": True}),
            ("GET", f"transit/export/signing-key/{key}", None),
            ("GET", f"transit/backup/{key}", None),
            ("DELETE", f"transit/keys/{key}/soft-delete", None),
        ]
    attempts += [
        ("POST", f"transit/sign/{own}", {"input": "aGk=", "key_version": 1}),
        ("POST", f"transit/keys/{own}/rotate", {}),
        ("POST", "transit/keys/mine", {"type": "ed25519"}),
        ("POST", "transit/restore", {"backup": "x"}),
        ("GET", "database/creds/flights-ro", None),
        ("GET", "database/creds/reports-rw", None),
        ("GET", "database/creds/sweep", None),
        ("GET", "database/config/remit", None),
        ("GET", "remit-secrets/data/weather-api", None),
        ("GET", f"remit-live/leases/{STOLEN}", None),
        ("DELETE", f"remit-live/leases/{STOLEN}", None),
        ("POST", f"remit-live/leases/{STOLEN}", {"mine": True}),
        ("POST", "remit-live/cascades/mine", {"mine": True}),
        ("POST", "sys/leases/revoke/database/creds/flights-ro/x", {}),
        ("POST", "sys/leases/renew", {"lease_id": "database/creds/flights-ro/x"}),
        ("POST", "sys/leases/lookup", {"lease_id": "database/creds/flights-ro/x"}),
        ("POST", "auth/token/create", {"policies": ["step-flights-ro"]}),
        ("POST", "auth/token/create-orphan", {"policies": ["remit-authority"]}),
        ("POST", "auth/token/revoke-accessor", {"accessor": "x"}),
        ("POST", "auth/token/lookup-accessor", {"accessor": "x"}),
        ("POST", "auth/remit-step/config", {"jwt_validation_pubkeys": ["x"]}),
        ("POST", "auth/userpass/users/alice/password", {"password": "mine"}),
        ("POST", f"identity/entity/id/{keys['writer']}", {"disabled": True}),
        ("POST", "identity/entity", {"name": "user-alice", "policies": ["remit-authority"]}),
        ("POST", "identity/entity-alias", {"name": "report-writer", "canonical_id": own, "mount_accessor": "x"}),
        ("POST", "identity/entity/merge", {"from_entity_ids": [keys["writer"]], "to_entity_id": own}),
        ("POST", "sys/policies/acl/remit-agent", {"policy": ""}),
    ]
    for kind in ("statements", "principals", "confirmed", "approvals", "once", "runs", "budget"):
        attempts.append(("POST", f"remit/data/{kind}/{STOLEN}", {"data": {"jws": "mine"}}))
    attempts += [
        ("POST", "remit/data/epoch", {"data": {"epoch": "mine"}}),
        ("DELETE", "remit/metadata/epoch", None),
        ("POST", "remit/destroy/epoch", {"versions": [1]}),
    ]
    for method, path, body in attempts:
        status, _ = await analyst.call(method, path, body)
        assert status == 403, (method, path, status)
    assert await everything(made) == before


@pytest.mark.parametrize("role", ["flights-ro", "reports-rw"])
async def test_51_an_agents_own_signature_is_no_step_token(made: Site, role: str) -> None:
    signer = await TransitSigner.open(made.agent("flight-analyst"))
    for typ in ("step+jwt", DELEGATION, PRESENTATION, APPROVAL):
        token = await jose.sign(step_claims(made, dbrole=role), typ=typ, signer=signer)
        with pytest.raises(Refused) as refused:
            await made.agent("flight-analyst").step_login(token, role=role)
        assert refused.value.code == "vault.login"


async def test_51_a_chain_is_presented_by_its_own_agent_only(settings: Settings, stack: Stack, parts: Parts) -> None:
    """With the analyst's session alone: the writer's chain, in its registry and in its words, opens nothing."""
    victim = await delegate(settings, agent="report-writer", actions=("report:publish",))
    analyst = await parts.presenter.signer(Principal("remit.local", "agent", "flight-analyst"))

    class Taken:
        async def sign(self, attempt: Any) -> str:
            honest = await parts.presenter.present(attempt)
            claims = json.loads(base64.urlsafe_b64decode(honest.split(".")[1] + "=="))
            return await jose.sign(claims, typ=PRESENTATION, signer=analyst)

    publish = Call("report:publish", "reports", {"table": "delays", "sql": "select 1"})
    async with effects(stack, settings, parts) as seen:
        attempt = victim.attempt(publish, credential="reports-rw", tool="report.publish")
        with pytest.raises(Refused) as refused:
            await parts.authority.authorize(attempt, Taken().sign(attempt))
        assert not refused.value.retryable
    seen.refused(refused.value.code)
    assert refused.value.code.startswith("jws.")


async def test_51_what_an_agent_may_write_opens_nothing(settings: Settings, stack: Stack, parts: Parts) -> None:
    """It may store delegations; one it made up, from the writer to itself, is no chain."""
    victim = await delegate(settings, agent="report-writer", actions=("read", "report:publish"))
    analyst = Principal("remit.local", "agent", "flight-analyst")
    signer = await parts.presenter.signer(analyst)
    async with effects(stack, settings, parts) as seen:
        with pytest.raises(Refused) as refused:
            await parts.authority.delegating.delegate(
                parent=victim.reference,
                agent="flight-analyst",
                scope=Scope(("read",), ("flights",), 5),
                expires_in=300,
                max_depth=2,
                namespace="default",
                task=victim.id,
                first_run=victim.run,
                child=f"{victim.id}-mine",
                signer=signer,
            )
    assert not refused.value.retryable
    assert (seen.minted, seen.leases, seen.records) == ([], [], [])
