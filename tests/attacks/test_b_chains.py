"""Attacks 9 to 15: chains put together wrongly, and right chains in the wrong hands. Attack 16 is `tests/oracle`.

Every link is signed with the real key of whoever would have to sign it, so that only the rule in question is broken.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from pydantic import BaseModel
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.service import RPCError
from temporalio.worker import Worker

from remit.assembly import Parts, assemble, temporal_client
from remit.chain import chain_digest
from remit.delegation import Reference
from remit.embedded import Stack
from remit.errors import Denied, Held, OverBudget, Refused, RemitError
from remit.identity import Presenter
from remit.presentation import TYP as PRESENTATION
from remit.settings import Settings
from remit.step import Call
from remit.temporal import RemitPlugin, delegated, tool
from tests.unit.temporal.flows import FLOWS

from ..integration.acting import Task, authorize, delegate, narrower
from .effects import effects
from .forging import Claims, Forger, b64, forging, grant
from .test_a_tokens import presented, proof_of, refused

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

ALICE, BOB, ANALYST, WRITER = "user/alice", "user/bob", "agent/flight-analyst", "agent/report-writer"
PING = Call(action="http:request", resource="status-page", input={})


@pytest.fixture(scope="module")
async def parts(settings: Settings) -> AsyncIterator[Parts]:
    async with assemble(settings) as made:
        yield made


@pytest.fixture(scope="module")
async def forger(stack: Stack, settings: Settings, parts: Parts) -> AsyncIterator[Forger]:
    async with forging(stack, settings, parts) as made:
        yield made


Edit = Callable[[Claims], Claims]


def changed(**changes: Any) -> Edit:
    return lambda _: changes


def shifted(name: str, seconds: int) -> Edit:
    return lambda above: {name: above[name] + seconds}


# Attack → what the link below says instead, by the link above; and the code it is refused with.
BELOW: dict[str, tuple[Edit, str]] = {
    "09 adds an action": (changed(authorization_details=grant(["read", "http:request"])), "chain.actions"),
    "09 adds a group above": (changed(authorization_details=grant(["write"])), "chain.actions"),
    "09 adds a space": (changed(authorization_details=grant(spaces=["flights", "hr"])), "chain.spaces"),
    "09 adds budget": (changed(authorization_details=grant(budget=101)), "chain.budget"),
    "09 omits actions": (changed(authorization_details=grant(actions=...)), "chain.claims"),
    "09 omits spaces": (changed(authorization_details=grant(spaces=...)), "chain.claims"),
    "09 omits budget": (changed(authorization_details=grant(budget=...)), "chain.claims"),
    "09 omits the grant": (changed(authorization_details=...), "chain.claims"),
    "09 omits its purpose": (changed(purpose=...), "chain.claims"),
    "09 omits its expiry": (changed(exp=...), "chain.claims"),
    "09 omits its parent's hash": (changed(par_hash=...), "chain.par-hash"),
    "10 one second longer": (shifted("exp", 1), "chain.exp"),
    "10 issued before": (shifted("iat", -1), "chain.iat"),
    "10 valid before": (shifted("nbf", -1), "chain.iat"),
    "09 names another parent": (changed(par_hash=b64(bytes(32))), "chain.par-hash"),
    "12 sub swapped": (changed(sub="spiffe://remit.local/user/bob"), "chain.sub"),
    "12 depth over the ceiling": (changed(del_depth=1, del_max_depth=0), "chain.depth"),
    "12 depth skipped": (changed(del_depth=2), "chain.depth"),
    "12 ceiling raised": (changed(del_max_depth=4), "chain.depth"),
    "12 issued by another": (changed(iss="spiffe://remit.local/agent/report-writer"), "chain.issuer"),
    "12 purpose swapped": (changed(purpose="payroll"), "chain.purpose"),
    "12 an agent to itself": (
        changed(may_act={"sub": "spiffe://remit.local/agent/flight-analyst"}),
        "chain.agent-twice",
    ),
}


async def _opens_nothing(stack: Stack, settings: Settings, parts: Parts, forger: Forger, edit: Edit, code: str) -> None:
    above = await forger.root(authorization_details=grant(["read", "report:publish"]))
    root = await forger.sign(above, by=ALICE)
    task = await forger.store([root, await forger.sign(await forger.below(root, above, **edit(above)), by=ANALYST)])
    async with effects(stack, settings, parts) as seen:
        assert (await refused(parts, task)).code == code
    seen.refused(code)


def case(number: int, table: dict[str, tuple[Any, str]], name: str) -> pytest.MarkDecorator:
    """Parametrise with what a table has of one case."""
    ours = {told[3:]: made for told, made in table.items() if told.startswith(f"{number:02}")}
    return pytest.mark.parametrize((name, "code"), ours.values(), ids=ours)


@case(9, BELOW, "edit")
async def test_09_a_link_holds_no_more_than_its_parent_and_leaves_nothing_out(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, edit: Edit, code: str
) -> None:
    await _opens_nothing(stack, settings, parts, forger, edit, code)


@case(10, BELOW, "edit")
async def test_10_a_link_lives_inside_its_parents_time(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, edit: Edit, code: str
) -> None:
    await _opens_nothing(stack, settings, parts, forger, edit, code)


@case(12, BELOW, "edit")
async def test_12_a_link_changes_neither_human_nor_purpose_nor_depth(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, edit: Edit, code: str
) -> None:
    await _opens_nothing(stack, settings, parts, forger, edit, code)


async def test_a_link_that_takes_no_more_opens_a_step(parts: Parts, forger: Forger) -> None:
    task = await forger.store(await forger.pair())
    error = None
    try:
        await parts.authority.release(await authorize(parts, task.attempt(PING)), outcome="ok")
    except RemitError as found:
        error = found.code
    assert error == "policy.denied", "it was Cedar that said no, so the chain was right"


Arrange = Callable[[Forger], Awaitable[list[str]]]


async def broader_parent(forger: Forger) -> list[str]:
    """Two roots for the same agent and key; the link was made under the narrow one."""
    narrow = await forger.root(authorization_details=grant(budget=1))
    made = await forger.sign(narrow, by=ALICE)
    link = await forger.sign(await forger.below(made, narrow), by=ANALYST)
    return [await forger.sign(await forger.root(), by=ALICE), link]


async def reordered(forger: Forger) -> list[str]:
    root, link = await forger.pair()
    return [link, root]


async def skipped(forger: Forger) -> list[str]:
    root, link = await forger.pair()
    below = await forger.below(link, await forger.root(), iss="spiffe://remit.local/agent/report-writer", del_depth=2)
    return [root, await forger.sign(below, by=WRITER)]


async def truncated(forger: Forger) -> list[str]:
    return (await forger.pair())[1:]


async def root_repeated(forger: Forger) -> list[str]:
    root, link = await forger.pair()
    return [root, root, link]


async def leaf_repeated(forger: Forger) -> list[str]:
    root, link = await forger.pair()
    return [root, link, link]


async def there_and_back(forger: Forger) -> list[str]:
    """A → B → A."""
    above = await forger.root()
    root = await forger.sign(above, by=ALICE)
    middle = await forger.below(root, above)
    link = await forger.sign(middle, by=ANALYST)
    return [root, link, await forger.sign(await forger.below(link, middle, agent="flight-analyst"), by=WRITER)]


async def signed_by_another_human(forger: Forger) -> list[str]:
    return [await forger.sign(await forger.root(), by=BOB)]


async def signed_by_an_agent(forger: Forger) -> list[str]:
    return [await forger.sign(await forger.root(iss="spiffe://remit.local/agent/report-writer"), by=WRITER)]


def below_signed_by(who: str) -> Arrange:
    async def arrange(forger: Forger) -> list[str]:
        above = await forger.root()
        root = await forger.sign(above, by=ALICE)
        return [root, await forger.sign(await forger.below(root, above), by=who)]

    return arrange


ARRANGED: dict[str, tuple[Arrange, str]] = {
    "11 under a broader parent": (broader_parent, "chain.par-hash"),
    "11 reordered": (reordered, "chain.issuer"),
    "11 skipped": (skipped, "jws.kid"),
    "11 truncated at the head": (truncated, "chain.issuer"),
    "11 root repeated": (root_repeated, "jws.kid"),
    "11 leaf repeated": (leaf_repeated, "jws.kid"),
    "12 A to B to A": (there_and_back, "chain.agent-twice"),
    "12 root by another human": (signed_by_another_human, "chain.anchor"),
    "12 root by an agent": (signed_by_an_agent, "chain.issuer"),
    "12 link by the root human": (below_signed_by(ALICE), "jws.kid"),
    "12 link by another human": (below_signed_by(BOB), "jws.kid"),
    "12 link by its own delegate": (below_signed_by(WRITER), "jws.kid"),
    "12 link by the authority": (below_signed_by("remit-authority"), "jws.kid"),
}


async def _arranged_opens_nothing(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, arrange: Arrange, code: str
) -> None:
    task = await forger.store(await arrange(forger))
    async with effects(stack, settings, parts) as seen:
        assert (await refused(parts, task)).code == code
    seen.refused(code)


@case(11, ARRANGED, "arrange")
async def test_11_links_stand_only_where_they_were_made(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, arrange: Arrange, code: str
) -> None:
    await _arranged_opens_nothing(stack, settings, parts, forger, arrange, code)


@case(12, ARRANGED, "arrange")
async def test_12_a_link_is_signed_by_who_was_given_the_key_and_nobody_comes_twice(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, arrange: Arrange, code: str
) -> None:
    await _arranged_opens_nothing(stack, settings, parts, forger, arrange, code)


async def test_12_no_chain_is_longer_than_eight_links(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger
) -> None:
    links = [await forger.sign(await forger.root(), by=ALICE) for _ in range(9)]
    task = await forger.store(links)
    async with effects(stack, settings, parts) as seen:
        assert (await refused(parts, task)).code == "chain.links"
    seen.refused("chain.links")


async def test_13_ten_siblings_at_once_spend_no_more_than_their_parent_has(
    stack: Stack, settings: Settings, parts: Parts
) -> None:
    parent = await delegate(settings, actions=("read", "http:request"), budget=20)
    siblings = [
        await narrower(parts, parent, actions=("http:request",), budget=20, name=str(number)) for number in range(10)
    ]
    attempts = [one.attempt(PING, step=step, credential="service-token") for one in siblings for step in (1, 2, 3)]
    async with effects(stack, settings, parts) as seen:
        results = await asyncio.gather(*(authorize(parts, one) for one in attempts), return_exceptions=True)
    granted = [one for one in results if not isinstance(one, BaseException)]
    refusals = [one for one in results if isinstance(one, BaseException)]
    assert len(granted) <= 20
    assert refusals
    assert all(isinstance(one, Denied | OverBudget | Held) for one in refusals), refusals
    assert 0 < len(seen.minted) <= len(granted), "signatures wanted at once share a request; no refusal has one"
    assert len(seen.began()) == len(granted)
    assert len(seen.records) == len(attempts), "one record each"
    for one in granted:
        await parts.authority.release(one, outcome="ok")
    rest = 0
    for step in range(4, 25):
        with suppress(Refused):
            await parts.authority.release(await authorize(parts, parent.attempt(step=step)), outcome="ok")
            rest += 1
    assert len(granted) + rest == 20


async def test_14_two_chains_are_never_pooled(stack: Stack, settings: Settings, parts: Parts, forger: Forger) -> None:
    """One may read and the other may ask a service; no way of naming both does the other's work."""
    reads = await delegate(settings, actions=("read",))
    asks = await delegate(settings, actions=("http:request",))
    mixed = replace(reads, reference=Reference(reads.reference.delegation, asks.reference.digest))
    joined = replace(reads, reference=Reference(reads.reference.delegation, chain_digest([*asks.links, *reads.links])))
    async with effects(stack, settings, parts) as seen:
        assert (await refused(parts, reads, PING)).code == "policy.denied"
        assert (await refused(parts, asks)).code == "policy.denied"
        assert (await refused(parts, mixed)).code == "chain.digest"
        assert (await refused(parts, joined)).code == "chain.digest"
    assert (seen.minted, [one["outcome"] for one in seen.records]) == ([], ["refused"] * 4)
    pooled = await forger.store([*asks.links, *reads.links], ids=[str(uuid.uuid4()), str(uuid.uuid4())])
    async with effects(stack, settings, parts) as seen:
        code = (await refused(parts, pooled)).code
    assert code.startswith(("jws.", "chain."))
    seen.refused(code)


async def test_14_a_leaf_presented_by_another_agents_worker(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger
) -> None:
    task = await delegate(settings)
    honest = proof_of(task)
    writer = (await forger.signer(WRITER)).key.kid
    analyst = (await forger.signer(ANALYST)).key.kid
    other = {"iss": "spiffe://remit.local/agent/report-writer"}
    cases = {
        "its own key": (await forger.sign(honest, by=WRITER, typ=PRESENTATION), "jws.kid"),
        "its own key and name": (await forger.sign(honest | other, by=WRITER, typ=PRESENTATION), "jws.kid"),
        "the leaf's kid": (await forger.sign(honest, by=WRITER, typ=PRESENTATION, kid=analyst), "jws.signature"),
        "the root human's key": (await forger.sign(honest, by=ALICE, typ=PRESENTATION), "jws.kid"),
        "another's name": (await forger.sign(honest | other, by=ANALYST, typ=PRESENTATION), "presentation.agent"),
    }
    assert writer != analyst
    for proof, code in cases.values():
        async with effects(stack, settings, parts) as seen:
            assert await presented(parts, task, proof) == code
        seen.refused(code)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"workflow": "another"}, "presentation.attempt"),
        ({"run": "another"}, "presentation.attempt"),
        ({"activity": "2"}, "presentation.attempt"),
        ({"attempt": 2}, "presentation.attempt"),
        ({"arguments": b64(bytes(32))}, "presentation.arguments"),
        ({"digest": b64(bytes(32))}, "presentation.chain"),
        ({"aud": "remit:other"}, "presentation.audience"),
        ({"exp": 0}, "presentation.expired"),
    ],
    ids=lambda change: change if isinstance(change, str) else next(iter(change)),
)
async def test_15_a_proof_is_for_one_attempt(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, change: Claims, code: str
) -> None:
    task = await delegate(settings)
    proof = await forger.sign(proof_of(task) | change, by=ANALYST, typ=PRESENTATION)
    async with effects(stack, settings, parts) as seen:
        assert await presented(parts, task, proof) == code
    seen.refused(code)


async def test_15_a_copy_under_another_id_opens_nothing(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger
) -> None:
    """The leaf agent itself stores its delegation once more, made out for a task of its own, and presents that."""
    task = await delegate(settings)
    copied = await forger.store(task.links, ids=[str(uuid.uuid4())], task="a-task-of-its-own")
    for named in (task, copied):
        told = {"delegation": named.reference.delegation, "digest": task.reference.digest}
        proof = await forger.sign(proof_of(copied) | told, by=ANALYST, typ=PRESENTATION)
        async with effects(stack, settings, parts) as seen:
            assert await presented(parts, copied, proof) == "chain.reference"
        seen.refused("chain.reference")


# Attacks 14 and 15 through the real plugin.
QUEUE, ELSEWHERE = "attacks-b", "attacks-elsewhere"
RAN: list[str] = []


class Look(BaseModel):
    dataset: str = "flights"


@tool(name="look", action="dataset:query", resource=lambda look: look.dataset, credential="flights-ro")
async def look(look: Look) -> str:
    """Run, which is all there is to see."""
    RAN.append(look.dataset)
    return look.dataset


LOOK = ["look", {"dataset": "flights"}]


@pytest.fixture(scope="module")
async def client(settings: Settings, parts: Parts) -> AsyncIterator[Client]:
    plugin = RemitPlugin(authority=parts.authority, presenter=parts.presenter)
    made = await temporal_client(settings, plugins=[plugin])
    async with Worker(made, task_queue=QUEUE, workflows=FLOWS, activities=[look]):
        yield made


@pytest.fixture(scope="module")
async def elsewhere(
    settings: Settings, parts: Parts, client: Client, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Client]:
    """The same authority, behind a worker of another namespace."""
    with suppress(RPCError):
        await client.workflow_service.register_namespace(
            RegisterNamespaceRequest(namespace=ELSEWHERE, workflow_execution_retention_period=Duration(seconds=86_400))
        )
    plugin = RemitPlugin(authority=parts.authority, presenter=parts.presenter, search_attributes=False)
    config = tmp_path_factory.mktemp("elsewhere") / "temporal.toml"
    address = client.service_client.config.target_host
    config.write_text(f'[profile.default]\naddress = "{address}"\nnamespace = "{ELSEWHERE}"\n')
    made = await temporal_client(settings.model_copy(update={"temporal_config": config}), plugins=[plugin])
    assert made.namespace == ELSEWHERE
    deadline = time.monotonic() + 60
    while True:  # a namespace is known everywhere a moment after it was made
        try:
            await made.count_workflows()
            break
        except RPCError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
    async with Worker(made, task_queue=QUEUE, workflows=FLOWS, activities=[look]):
        yield made


async def code_of(handle: WorkflowHandle[Any, Any]) -> str | None:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    cause = failed.value.cause
    while isinstance(cause, ActivityError):
        cause = cause.cause
    assert isinstance(cause, ApplicationError)
    assert cause.non_retryable
    return cause.type


async def started(client: Client, task: Task, flow: str = "Calls", *, name: str = "") -> WorkflowHandle[Any, Any]:
    with delegated(task.reference):
        return await client.start_workflow(flow, [LOOK], id=name or task.id, task_queue=QUEUE)


async def test_15_a_reference_copied_to_another_workflow(
    stack: Stack, settings: Settings, parts: Parts, client: Client
) -> None:
    task = await delegate(settings)
    RAN.clear()
    async with effects(stack, settings, parts) as seen:
        assert await code_of(await started(client, task, name=f"copy-{uuid.uuid4()}")) == "delegation.other-task"
    seen.refused("delegation.other-task")
    assert RAN == []
    await (await started(client, task)).result()
    assert RAN == ["flights"], "where it belongs it works"


async def test_15_a_reference_copied_to_another_run(
    stack: Stack, settings: Settings, parts: Parts, client: Client
) -> None:
    """The task is over; somebody starts its workflow id once more with the reference it had."""
    task = await delegate(settings)
    await (await started(client, task)).result()
    await parts.authority.settled()
    RAN.clear()
    async with effects(stack, settings, parts) as seen:
        assert await code_of(await started(client, task)) == "delegation.other-task"
    seen.refused("delegation.other-task")
    assert RAN == []


async def test_15_a_reference_copied_to_another_namespace(
    stack: Stack, settings: Settings, parts: Parts, client: Client, elsewhere: Client
) -> None:
    task = await delegate(settings)
    RAN.clear()
    async with effects(stack, settings, parts) as seen:
        assert await code_of(await started(elsewhere, task)) == "delegation.other-task"
    seen.refused("delegation.other-task")
    assert RAN == []
    await (await started(client, task)).result()
    assert RAN == ["flights"]


async def test_14_a_worker_without_the_leafs_identity_presents_nothing(
    stack: Stack, settings: Settings, parts: Parts
) -> None:
    """A worker that runs as the report writer only gets a task of the analyst's."""

    async def only_the_writer(agent: Any) -> Any:
        if agent.name != "report-writer":
            raise Refused(f"this worker has no identity token for {agent.short}", code="identity.none")
        return await parts.presenter.signer(agent)

    presenter = Presenter(parts.registry, signer_of=only_the_writer, clock=time.time)
    plugin = RemitPlugin(authority=parts.authority, presenter=presenter)
    theirs = await temporal_client(settings, plugins=[plugin])
    task = await delegate(settings)
    RAN.clear()
    async with Worker(theirs, task_queue=f"{QUEUE}-writer", workflows=FLOWS, activities=[look]):
        async with effects(stack, settings, parts) as seen:
            with delegated(task.reference):
                handle = await theirs.start_workflow(
                    "Calls", [LOOK], id=task.id, task_queue=f"{QUEUE}-writer", run_timeout=timedelta(minutes=2)
                )
            assert await code_of(handle) == "identity.none"
        seen.refused("identity.none")
    assert RAN == []
