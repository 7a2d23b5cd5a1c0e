"""The authority on the real OpenBao and PostgreSQL: what is permitted, what is not, and what is left behind."""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest

from remit import audit
from remit.assembly import Parts, assemble
from remit.attempt import Attempt
from remit.client import Remit
from remit.embedded import Stack
from remit.embedded.provision import provision
from remit.errors import (
    Denied,
    NeedsApproval,
    NotLive,
    Refused,
    Rejected,
    RemitError,
)
from remit.registry import Registry
from remit.settings import Settings
from remit.statements import Event
from remit.step import Call
from remit.vault import Token, Vault, transit

from .acting import (
    PUBLISH,
    Task,
    approve,
    authorize,
    delegate,
    minted_users,
    narrower,
    principal,
    session_of,
    state,
)


async def records(settings: Settings, task: Task) -> list[dict[str, Any]]:
    return [one for one in audit.read(settings.audit_folder, task=task.id) if one["event"] == "attempt"]


async def refused(parts: Parts, attempt: Attempt) -> RemitError:
    with pytest.raises(RemitError) as caught:
        await authorize(parts, attempt)
    return caught.value


async def test_a_permitted_step_gets_a_user_that_is_gone_afterwards(
    stack: Stack, settings: Settings, parts: Parts
) -> None:
    task = await delegate(settings)
    grant = await authorize(parts, task.attempt(credential="flights-ro"))
    with session_of(grant) as session:
        user, flights = session.execute("SELECT current_user, count(*) FROM flights").fetchone() or ("", 0)
    assert user == grant.lease["user"]
    assert user.startswith(f"d-{task.reference.delegation}-1-")
    assert flights == 336_776
    await parts.authority.release(grant, outcome="ok")
    assert minted_users(stack, task) == []
    await parts.authority.settled()
    assert await parts.registry.live.leases(task.reference.delegation) == []
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(grant.credential["dsn"])
    permitted, ended = await records(settings, task)
    assert (permitted["outcome"], ended["outcome"]) == ("permitted", "ok")
    assert permitted["lease"]["user"] == user
    secrets = (grant.credential["password"], grant.credential["dsn"])
    assert not any(secret in repr((permitted, ended, grant)) for secret in secrets)


async def test_the_minted_user_may_read_and_not_write(settings: Settings, parts: Parts) -> None:
    task = await delegate(settings)
    grant = await authorize(parts, task.attempt(credential="flights-ro"))
    with session_of(grant) as session:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("DELETE FROM flights")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("SELECT * FROM hr.payroll")
    await parts.authority.release(grant, outcome="ok")


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (Call(action="dataset:query", resource="payroll", input={"limit": 1}), "policy.denied"),
        (Call(action="http:request", resource="status-page", input={}), "policy.denied"),
        (Call(action="no:such", resource="flights", input={}), "policy.denied"),
        (Call(action="dataset:query", resource="nowhere", input={"limit": 1}), "policy.denied"),
    ],
)
async def test_what_was_not_delegated_is_denied_and_nothing_is_minted(
    stack: Stack, settings: Settings, parts: Parts, call: Call, code: str
) -> None:
    task = await delegate(settings)
    error = await refused(parts, task.attempt(call, credential="flights-ro"))
    assert isinstance(error, Denied)
    assert error.code == code
    assert minted_users(stack, task) == []
    (record,) = await records(settings, task)
    assert (record["outcome"], record["code"], record["verdict"]) == ("refused", code, "deny")


async def test_publishing_waits_for_a_steward_and_four_eyes(stack: Stack, settings: Settings, parts: Parts) -> None:
    task = await narrower(parts, await delegate(settings))
    attempt = task.attempt(PUBLISH, credential="reports-rw")
    waiting = await refused(parts, attempt)
    assert isinstance(waiting, NeedsApproval)
    request = waiting.request
    assert request["approvers"] == ["data-steward"]
    assert request["input"] == dict(PUBLISH.input)
    assert minted_users(stack, task) == []

    for by, code in (("alice", "approval.four-eyes"), ("carol", "approval.not-permitted")):
        token = await approve(settings, request, by=by)
        still = await refused(parts, replace(attempt, approvals=(token,)))
        assert isinstance(still, NeedsApproval)
        assert [one["code"] for one in still.request["refused"]] == [code]
        admission = await parts.authority.admit(
            token, request=request, reference=task.reference, namespace="default", task=task.id
        )
        assert (admission.accepted, admission.code) == (False, code)

    token = await approve(settings, request, by="bob")
    assert (
        await parts.authority.admit(token, request=request, reference=task.reference, namespace="default", task=task.id)
    ).accepted
    grant = await authorize(parts, replace(attempt, approvals=(token,)))
    await parts.authority.release(grant, outcome="ok")
    again = await authorize(parts, replace(attempt, attempt=2, approvals=(token,)))  # a retry of the same step
    await parts.authority.release(again, outcome="ok")


async def test_an_approval_serves_one_step_of_one_run(settings: Settings, parts: Parts) -> None:
    task = await narrower(parts, await delegate(settings))
    attempt = task.attempt(PUBLISH)
    waiting = await refused(parts, attempt)
    assert isinstance(waiting, NeedsApproval)
    token = await approve(settings, waiting.request, by="bob")
    other = Call(action=PUBLISH.action, resource=PUBLISH.resource, input={**PUBLISH.input, "table": "other"})
    for changed in (replace(attempt, call=other), replace(attempt, step=2, activity="2")):
        assert isinstance(await refused(parts, replace(changed, approvals=(token,))), NeedsApproval)
    grant = await authorize(parts, replace(attempt, approvals=(token,)))
    await parts.authority.release(grant, outcome="ok")
    reset = replace(attempt, run="0b0e7bd6-7b47-4b3c-9a3e-0f8f1f3c1d11", approvals=(token,))
    error = await refused(parts, reset)
    assert error.code == "approval.used"


async def test_a_rejection_wins(settings: Settings, parts: Parts) -> None:
    task = await narrower(parts, await delegate(settings))
    waiting = await refused(parts, task.attempt(PUBLISH))
    assert isinstance(waiting, NeedsApproval)
    yes = await approve(settings, waiting.request, by="bob")
    no = await approve(settings, waiting.request, by="bob", decision="reject")
    error = await refused(parts, task.attempt(PUBLISH, approvals=(yes, no)))
    assert isinstance(error, Rejected)


async def test_revoking_ends_the_session_and_every_later_attempt(
    stack: Stack, settings: Settings, parts: Parts
) -> None:
    task = await delegate(settings)
    other = await delegate(settings)
    grant = await authorize(parts, task.attempt(credential="flights-ro"))
    sibling = await authorize(parts, other.attempt(credential="flights-ro"))
    with session_of(grant) as session, session_of(sibling) as living:
        outcome = await state(settings, task, Event.REVOKED)
        assert (outcome.leases_revoked, outcome.pending) == (1, ())
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
        assert living.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(NotLive) as stopped:
        await parts.authority.watch(grant)
    assert stopped.value.status == "revoked"
    await parts.authority.release(grant, outcome="stopped")
    await parts.authority.watch(sibling)
    await parts.authority.release(sibling, outcome="ok")
    error = await refused(parts, task.attempt(step=2, credential="flights-ro"))
    assert isinstance(error, NotLive)
    assert minted_users(stack, task) == []


async def test_suspension_is_lifted_by_whoever_made_it(settings: Settings, parts: Parts) -> None:
    task = await delegate(settings)
    await state(settings, task, Event.SUSPENDED, by="carol")
    error = await refused(parts, task.attempt())
    assert isinstance(error, NotLive)
    assert error.status == "suspended"
    await state(settings, task, Event.REINSTATED, by="alice")
    assert isinstance(await refused(parts, task.attempt()), NotLive)
    await state(settings, task, Event.REINSTATED, by="carol")
    await parts.authority.release(await authorize(parts, task.attempt()), outcome="ok")


async def test_nobody_else_may_revoke(settings: Settings, parts: Parts) -> None:
    task = await delegate(settings)
    with pytest.raises(Refused) as caught:
        await state(settings, task, Event.REVOKED, by="bob")
    assert caught.value.code == "statement.not-permitted"
    await parts.authority.release(await authorize(parts, task.attempt()), outcome="ok")


async def test_revoking_the_parent_ends_the_child(settings: Settings, parts: Parts) -> None:
    parent = await delegate(settings)
    child = await narrower(parts, parent)
    await state(settings, parent, Event.REVOKED)
    assert isinstance(await refused(parts, child.attempt(PUBLISH)), NotLive)


async def test_a_revocation_while_minting_leaves_no_credential(
    stack: Stack, settings: Settings, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fence: revoked after the login, before the credential is handed over."""
    task = await delegate(settings)
    record = type(parts.registry.live).record
    revoked = False

    async def recording(self: Any, root: str, grant: str, facts: Any) -> None:
        nonlocal revoked
        await record(self, root, grant, facts)
        if not revoked:
            revoked = True
            await state(settings, task, Event.REVOKED)

    monkeypatch.setattr(type(parts.registry.live), "record", recording)
    error = await refused(parts, task.attempt(credential="flights-ro"))
    assert revoked
    assert isinstance(error, Refused)
    await asyncio.sleep(0.1)
    assert minted_users(stack, task) == []
    assert await parts.registry.live.leases(task.reference.delegation) == []


async def test_a_status_changed_after_the_mint_is_seen_before_use(
    stack: Stack, settings: Settings, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the second look at the standing catches this one: the login itself stays alive."""
    task = await delegate(settings)
    made = type(parts.authority._mint)._lease
    seen = []

    def minted(self: Any, *args: Any, **kwargs: Any) -> Any:
        lease = made(self, *args, **kwargs)
        seen.append(minted_users(stack, task))
        return lease

    real = type(parts.authority.standing).require_live
    looks = 0

    async def require_live(self: Any, chain: Any, *, epoch: str | None = None) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise NotLive("revoked meanwhile", status="revoked", subject=chain.leaf.jti)
        await real(self, chain, epoch=epoch)

    monkeypatch.setattr(type(parts.authority._mint), "_lease", minted)
    monkeypatch.setattr(type(parts.authority.standing), "require_live", require_live)
    error = await refused(parts, task.attempt(credential="flights-ro"))
    assert isinstance(error, NotLive)
    assert len(seen[0]) == 1, "it was minted"
    assert minted_users(stack, task) == [], "and destroyed before anybody had it"


@pytest.mark.parametrize("field", ["task", "run", "first_run", "namespace"])
async def test_a_copied_reference_opens_nothing_elsewhere(settings: Settings, parts: Parts, field: str) -> None:
    task = await delegate(settings)
    await parts.authority.release(await authorize(parts, task.attempt()), outcome="ok")
    elsewhere = replace(task.attempt(), **{field: "copied"})
    if field == "run":  # a new run of the same execution (retry, continue-as-new) is the same task
        await parts.authority.release(await authorize(parts, elsewhere), outcome="ok")
        return
    error = await refused(parts, elsewhere)
    assert error.code == "delegation.other-task"


@pytest.mark.parametrize("later", [601, 700], ids=["just now", "long ago"])
async def test_an_expired_delegation_is_not_live(
    settings: Settings, parts: Parts, monkeypatch: pytest.MonkeyPatch, later: int
) -> None:
    """It is not live, whatever else is wrong with its times: whoever waits for a fresh one can tell."""
    task = await delegate(settings, seconds=600)
    await parts.authority.release(await authorize(parts, task.attempt()), outcome="ok")
    for part in (parts.authority.standing, parts.authority._chains):
        monkeypatch.setattr(part, "_clock", lambda: time.time() + later)
    error = await refused(parts, task.attempt(step=2))
    assert isinstance(error, NotLive)
    assert (error.code, error.subject) == ("chain.expired", task.reference.delegation)


async def test_a_downstream_token_is_for_the_called_service_alone(
    stack: Stack, settings: Settings, parts: Parts
) -> None:
    """Verified with a stock library and the published keys, as a service would."""
    task = await delegate(settings, actions=("http:request",))
    call = Call(action="http:request", resource="status-page", input={"method": "GET"})
    grant = await authorize(parts, task.attempt(call, credential="service-token"))
    published = jwt.PyJWKSet.from_json((stack.home / "jwks.json").read_text())
    token = grant.credential["token"]
    key = published[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, algorithms=["ES256"], audience="status-page")
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    assert claims["sub"] == "spiffe://remit.local/user/alice"
    assert claims["act"] == {"sub": "spiffe://remit.local/agent/flight-analyst"}
    assert claims["txn"] == task.id
    (details,) = claims["authorization_details"]
    assert (details["actions"], details["spaces"]) == (["http:request"], ["flights"])
    assert claims["exp"] - claims["iat"] <= 120
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(token, key, algorithms=["ES256"], audience="notify")
    await parts.authority.release(grant, outcome="ok")


async def test_a_static_secret_is_read_by_its_step_alone(stack: Stack, settings: Settings, parts: Parts) -> None:
    task = await delegate(settings)
    grant = await authorize(parts, task.attempt(credential="weather-api"))
    assert grant.credential["key"] == (stack.home / "keys" / "weather-api").read_text()
    assert grant.credential["key"] not in repr(grant)
    await parts.authority.release(grant, outcome="ok")
    await parts.authority.settled()
    assert await parts.registry.live.leases(task.reference.delegation) == []


async def test_writing_an_old_epoch_back_hides_no_revocation(settings: Settings, parts: Parts) -> None:
    task = await delegate(settings)
    await parts.authority.release(await authorize(parts, task.attempt()), outcome="ok")
    async with Remit.open(settings, person="bob") as bob:
        seen = await bob.connection.vault.read("remit/data/epoch")
        assert seen is not None
        await state(settings, task, Event.REVOKED)
        await bob.connection.vault.write("remit/data/epoch", data=seen["data"]["data"])
    assert isinstance(await refused(parts, task.attempt(step=2)), NotLive)


async def test_what_a_former_key_revoked_stays_revoked(stack: Stack, settings: Settings, parts: Parts) -> None:
    """Her key is changed after she suspended one task and revoked another."""
    task = await delegate(settings)
    suspended = await delegate(settings)
    await state(settings, task, Event.REVOKED, by="carol")
    await state(settings, suspended, Event.SUSPENDED, by="carol")
    catalogue = parts.catalogue
    # Whom she let in again in other tests, where no worker's cascade ran.
    for name in (*(f"user/{one}" for one in catalogue.people), *(f"agent/{one}" for one in catalogue.agents)):
        for token in await parts.registry.statements(catalogue.principal(name)):
            await parts.registry.confirm(token)
    openbao = stack.openbao
    async with Vault(openbao.address, openbao.ca, Token(openbao.admin_token())) as operator:
        registry = Registry(operator)
        before = await registry.principal(principal("user/carol"))
        assert before is not None
        await operator.write(f"transit/keys/{before.signing_key}/rotate")
        fresh = await transit.public_key(operator, before.signing_key)
        await registry.put_principal(replace(before, key=fresh))
    for one, status in ((task, "revoked"), (suspended, "suspended")):
        error = await refused(parts, one.attempt())
        assert isinstance(error, NotLive)
        assert error.status == status
    await state(settings, suspended, Event.REINSTATED, by="carol")
    await parts.authority.release(await authorize(parts, suspended.attempt()), outcome="ok")


async def test_any_engine_that_leases_is_a_credential_by_configuration(
    stack: Stack, settings: Settings, tmp_path: Path
) -> None:
    """A second profile of the kind `engine`, over a mount Remit knows nothing special of."""
    policies = tmp_path / "policies"
    shutil.copytree(settings.policies, policies)
    catalogue = policies / "catalogue.yaml"
    added = "  any-engine: {kind: engine, path: database/creds/flights-ro, role: any-engine, ttl: 2m}\n"
    catalogue.write_text(catalogue.read_text().rstrip() + "\n" + added)
    await asyncio.to_thread(provision, stack, policies=policies)
    try:
        async with assemble(settings.model_copy(update={"policies": policies})) as parts:
            task = await delegate(settings)
            grant = await authorize(parts, task.attempt(credential="any-engine"))
            assert minted_users(stack, task) == [grant.credential["username"]]
            assert grant.credential["password"] not in repr(grant)
            await parts.authority.release(grant, outcome="ok")
            assert minted_users(stack, task) == []
    finally:
        await asyncio.to_thread(provision, stack, policies=settings.policies)
