"""Standing: what the statements in the registry leave of a chain, and how often that is read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from remit.catalogue import Catalogue
from remit.chain import Chain, chain_digest
from remit.errors import Held, InvalidDocument, NotLive
from remit.policy import PolicyEngine
from remit.principals import Principal
from remit.registry import key_name
from remit.statements import Event, Status
from remit.vault.paths import join
from tests.policies.questions import POLICIES, merged
from tests.unit.documents import NOW, signer, user, uuid
from tests.unit.world import ANALYST, WRITER, Task, World, world

LIVE, SUSPENDED, REVOKED, EXPIRED = Status
ALICE, BOB, CAROL = user("alice"), user("bob"), user("carol")


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def two(w: World) -> tuple[Task, Chain]:
    """A chain of two links: alice, the analyst, the writer."""
    task = await w.narrower(await w.delegate(max_depth=2), iat=NOW - 50, nbf=NOW - 50, exp=NOW + 600)
    return task, Chain(task.links, task.jws, chain_digest(task.jws))


async def statuses(w: World, chain: Chain) -> list[Status]:
    """Return the standing of root link, leaf, alice, analyst, writer; under an epoch read now."""
    points = await w.standing.of(chain, epoch=await w.standing.epoch())
    assert [one.subject for one in points] == [*chain.ids, *(one.spiffe_id for one in chain.principals)]
    return [one.status for one in points]


async def test_a_chain_about_which_nobody_said_anything_is_live(w: World) -> None:
    _, chain = await two(w)
    assert await statuses(w, chain) == [LIVE] * 5
    await w.standing.require_live(chain)


@pytest.mark.parametrize("event", [Event.REVOKED, Event.SUSPENDED])
@pytest.mark.parametrize("at", range(5))
async def test_whatever_is_stopped_stops_the_chain(w: World, at: int, event: Event) -> None:
    task, chain = await two(w)
    abouts = [Task(task.links[:1], task.jws[:1]), task, ALICE, ANALYST, WRITER]
    await w.state(abouts[at], event, by="carol")
    stopped = REVOKED if event is Event.REVOKED else SUSPENDED
    assert await statuses(w, chain) == [stopped if number == at else LIVE for number in range(5)]
    with pytest.raises(NotLive) as refused:
        await w.standing.require_live(chain)
    named = [*chain.ids, *(one.spiffe_id for one in chain.principals)][at]
    assert (refused.value.status, refused.value.subject) == (stopped.value, named)
    assert ("reinstate" in refused.value.next_action) is (stopped is SUSPENDED)


async def test_the_first_from_the_root_is_named(w: World) -> None:
    task, chain = await two(w)
    await w.state(WRITER, Event.SUSPENDED, by="carol")
    await w.state(task, Event.REVOKED)
    with pytest.raises(NotLive) as refused:
        await w.standing.require_live(chain, epoch=await w.standing.epoch())
    assert refused.value.subject == task.links[-1].jti


@pytest.mark.parametrize(("now", "status"), [(NOW + 599.9, LIVE), (NOW + 600, EXPIRED)])
async def test_a_link_ends_at_its_second_and_the_others_live_on(w: World, now: float, status: Status) -> None:
    _, chain = await two(w)
    w.now = now
    assert await statuses(w, chain) == [LIVE, status, LIVE, LIVE, LIVE]


async def test_what_is_stopped_and_expired_was_stopped(w: World) -> None:
    task, chain = await two(w)
    await w.state(task, Event.SUSPENDED)
    w.now = NOW + 700
    assert (await statuses(w, chain))[1] is SUSPENDED


async def test_what_has_no_record_is_revoked(w: World) -> None:
    _, chain = await two(w)
    w.vault.kept.documents.pop(f"remit/data/{join('delegations', chain.ids[1])}")
    w.vault.kept.documents.pop("remit/data/principals/agent/flight-analyst")
    assert await statuses(w, chain) == [LIVE, REVOKED, LIVE, REVOKED, LIVE]
    assert await w.standing.principal(ANALYST, epoch="other") is REVOKED
    assert await w.standing.spoke(ANALYST, at=NOW, epoch="other") is REVOKED


@pytest.mark.parametrize("at", [NOW - 61, NOW - 60, NOW - 55, NOW - 51, NOW - 50, NOW])
async def test_a_principal_that_begins_anew_leaves_behind_what_was_delegated_until_then(w: World, at: int) -> None:
    """The analyst's first link is dated 60 seconds ago, the writer's 50."""
    _, chain = await two(w)
    await w.state(ANALYST, Event.REVOKED, by="carol", iat=at - 1)
    await w.state(ANALYST, Event.REINSTATED, by="carol", iat=at)
    dead = REVOKED if at >= NOW - 60 else LIVE
    assert await statuses(w, chain) == [LIVE, LIVE, LIVE, dead, LIVE]
    await w.state(WRITER, Event.REVOKED, by="carol", iat=at - 1)
    await w.state(WRITER, Event.REINSTATED, by="carol", iat=at)
    assert (await statuses(w, chain))[4] is (REVOKED if at >= NOW - 50 else LIVE)


@pytest.mark.parametrize(("at", "status"), [(NOW - 1, REVOKED), (NOW, REVOKED), (NOW + 1, LIVE)])
async def test_what_somebody_signed_until_it_was_reinstated_stays_dead(w: World, at: int, status: Status) -> None:
    assert await w.standing.spoke(BOB, at=at, epoch="a") is LIVE
    await w.state(BOB, Event.REVOKED, by="carol", iat=NOW - 9)
    assert await w.standing.spoke(BOB, at=at, epoch="b") is REVOKED
    await w.state(BOB, Event.REINSTATED, by="carol")
    assert await w.standing.spoke(BOB, at=at, epoch="c") is status
    assert await w.standing.principal(BOB, epoch="d") is LIVE
    await w.state(BOB, Event.SUSPENDED, by="carol", iat=NOW + 5)
    assert await w.standing.spoke(BOB, at=at, epoch="e") is SUSPENDED


async def test_everything_is_read_once_for_an_epoch_and_the_moment_never_kept(w: World) -> None:
    task, chain = await two(w)
    await stopped_for_a_while(w, task, ANALYST)
    epoch = await w.standing.epoch()
    await w.standing.of(chain, epoch=epoch)
    w.vault.kept.asked.clear()
    assert {one.status for one in await w.standing.of(chain, epoch=epoch)} == {LIVE}
    await w.standing.signer(signer("alice").key.kid, epoch=epoch)
    await w.standing.signer(signer("alice").key.kid, epoch=epoch)
    assert [path for _, path, _ in w.vault.kept.asked if "/keys/" not in path] == ["remit/data/principals/user/alice"]
    w.now = NOW + 600
    assert EXPIRED in {one.status for one in await w.standing.of(chain, epoch=epoch)}
    w.vault.kept.asked.clear()
    await w.standing.of(chain, epoch="another")
    # Five records with their lists, two statements about each of two of them (kept, never read twice), one key.
    assert [path for _, path, _ in w.vault.kept.asked if "/keys/" in path] == [f"remit/data/keys/{CAROLS}"]
    assert len(w.vault.kept.asked) == 10 + 2


CAROLS = key_name(signer("carol").key.kid)


async def stopped_for_a_while(w: World, *abouts: Task | Principal) -> None:
    """Carol suspended these and reinstated them."""
    for about in abouts:
        await w.state(about, Event.SUSPENDED, by="carol", iat=NOW - 200)
        await w.state(about, Event.REINSTATED, by="carol", iat=NOW - 199)


@pytest.mark.parametrize("ask", ["principal", "spoke", "of"])
async def test_a_key_that_was_replaced_is_seen_under_the_next_epoch(w: World, ask: str) -> None:
    _, chain = await two(w)
    await stopped_for_a_while(w, ANALYST)

    async def status(epoch: str) -> Status:
        if ask == "of":
            return (await w.standing.of(chain, epoch=epoch))[3].status
        if ask == "spoke":
            return await w.standing.spoke(ANALYST, at=NOW, epoch=epoch)
        return await w.standing.principal(ANALYST, epoch=epoch)

    assert await status("a") is LIVE
    await w.enter(CAROL, key="carol-fresh")
    assert await status("a") is LIVE
    assert await status("b") is SUSPENDED


async def test_staff_lifts_what_other_staff_stopped(tmp_path: Path) -> None:
    plain = Catalogue.load(POLICIES / "catalogue.yaml").model_dump()
    two_of_them = Catalogue.model_validate(merged(plain, {"people": {"bob": {"roles": ["data-steward", "security"]}}}))
    async with world(tmp_path, PolicyEngine.load(POLICIES, two_of_them)) as w:
        _, chain = await two(w)
        await w.state(ANALYST, Event.SUSPENDED, by="carol")
        assert (await statuses(w, chain))[3] is SUSPENDED
        await w.state(ANALYST, Event.REINSTATED, by="bob", iat=NOW + 1)
        assert await statuses(w, chain) == [LIVE] * 5


async def test_only_what_was_not_read_is_read(w: World) -> None:
    task, chain = await two(w)
    first = Chain(task.links[:1], task.jws[:1], chain_digest(task.jws[:1]))
    await w.standing.of(first, epoch="a")
    w.vault.kept.asked.clear()
    assert [one.status for one in await w.standing.of(chain, epoch="a")] == [LIVE] * 5
    assert len(w.vault.kept.asked) == 4  # the leaf and the writer: a record and a list of statements each


async def test_an_epoch_that_changes_is_seen_by_whoever_reads_it(w: World) -> None:
    task, chain = await two(w)
    epoch = await w.standing.epoch()
    await w.standing.require_live(chain)
    await w.state(task, Event.REVOKED)
    assert await w.standing.epoch() != epoch
    await w.standing.require_live(chain, epoch=epoch)
    with pytest.raises(NotLive):
        await w.standing.require_live(chain)


async def test_an_outage_holds(w: World) -> None:
    _, chain = await two(w)
    w.vault.kept.broken["LIST remit/metadata/statements"] = 503
    with pytest.raises(Held):
        await w.standing.require_live(chain)


@pytest.mark.parametrize(
    ("by", "key", "changes"),
    [
        ("bob", "", {}),  # a user who may not
        ("alice", "bob", {}),  # under a foreign key
        ("alice", "nobody", {}),  # under no known key
        ("alice", "", {"aud": "remit:elsewhere"}),
        ("bob", "alice", {"iss": BOB}),  # in another's name
        ("alice", "", {"iss": ANALYST}),
    ],
)
async def test_a_statement_that_nobody_may_make_counts_for_nothing(
    w: World, by: str, key: str, changes: dict[str, object]
) -> None:
    task, chain = await two(w)
    await w.state(task, Event.REVOKED, by=by, key=key, **changes)
    await w.registry.put_statement(task.subject, uuid(7), "no document")
    assert await statuses(w, chain) == [LIVE] * 5


@pytest.mark.parametrize(
    ("by", "key", "changes", "code"),
    [
        ("bob", "", {}, "statement.not-permitted"),
        ("alice", "bob", {}, "statement.issuer"),
        ("alice", "nobody", {}, "principal.unknown-key"),
        ("alice", "", {"aud": "remit:elsewhere"}, "statement.audience"),
        ("alice", "", {"iat": NOW + 31}, "statement.not-yet"),
        ("alice", "", {"subject": WRITER}, "statement.subject"),
    ],
)
async def test_why_a_statement_counts_for_nothing(
    w: World, by: str, key: str, changes: dict[str, object], code: str
) -> None:
    task, chain = await two(w)
    event = Event.REINSTATED if code == "statement.not-yet" else Event.REVOKED
    token = await w.state(task, event, by=by, key=key, **changes)
    with pytest.raises(InvalidDocument) as refused:
        await w.standing.statement(token, subject=task.subject, links=chain.links, epoch="a")
    assert refused.value.code == code


async def test_one_bad_statement_hides_no_good_one(w: World) -> None:
    task, chain = await two(w)
    await w.state(task, Event.REVOKED, by="bob", jti=uuid(1))
    await w.state(task, Event.SUSPENDED, jti=uuid(2))
    await w.registry.put_statement(task.subject, uuid(3), "no document")
    assert (await statuses(w, chain))[1] is SUSPENDED


async def test_what_was_confirmed_counts_although_its_maker_may_not_any_more(w: World) -> None:
    task, chain = await two(w)
    token = await w.state(task, Event.REVOKED, by="bob")
    assert (await statuses(w, chain))[1] is LIVE
    await w.registry.confirm(token)
    await w.registry.raise_epoch()
    assert (await statuses(w, chain))[1] is REVOKED


async def test_a_former_key_stops_and_lets_nothing_go_on(w: World) -> None:
    task, chain = await two(w)
    await w.state(task, Event.SUSPENDED, by="carol")
    await w.enter(CAROL, key="carol-fresh")
    await w.state(task, Event.REINSTATED, by="carol", iat=NOW + 1)
    assert (await statuses(w, chain))[1] is SUSPENDED
    await w.state(task, Event.REINSTATED, by="carol", key="carol-fresh", iat=NOW + 1)
    assert (await statuses(w, chain))[1] is LIVE


async def test_what_let_something_go_on_outlives_the_key_it_was_signed_with(w: World) -> None:
    task, chain = await two(w)
    await w.state(task, Event.SUSPENDED, by="carol")
    await w.state(task, Event.REINSTATED, by="carol", iat=NOW + 1)
    assert (await statuses(w, chain))[1] is LIVE
    for token in await w.registry.statements(task.subject):
        await w.registry.confirm(token)  # as the cascade does
    await w.enter(CAROL, key="carol-fresh")
    assert (await statuses(w, chain))[1] is LIVE


@pytest.mark.parametrize(("by", "lifted"), [("alice", False), ("bob", False), ("carol", True)])
async def test_only_who_may_stop_anything_lifts_what_another_stopped(w: World, by: str, lifted: bool) -> None:
    task, chain = await two(w)
    root = Task(task.links[:1], task.jws[:1])
    await w.state(root, Event.SUSPENDED, by="carol" if by != "carol" else "alice")
    await w.state(root, Event.REINSTATED, by=by, iat=NOW + 1)
    assert ((await statuses(w, chain))[0] is LIVE) is lifted


async def test_a_reinstatement_counts_once_its_time_has_come(w: World) -> None:
    task, chain = await two(w)
    await w.state(task, Event.SUSPENDED)
    await w.state(task, Event.REINSTATED, iat=NOW + 31)
    assert (await statuses(w, chain))[1] is SUSPENDED
    w.now += 1
    await w.registry.raise_epoch()
    assert (await statuses(w, chain))[1] is LIVE


async def test_a_signer_is_whose_present_key_it_is(w: World) -> None:
    kid = signer("alice").key.kid
    assert await w.standing.signer(kid, epoch="a") == (ALICE, signer("alice").key)
    assert await w.standing.signer(signer("report-writer").key.kid, epoch="a") == (WRITER, signer("report-writer").key)
    await w.enter(ALICE, key="alice-fresh")
    for unknown in (kid, signer("nobody").key.kid, "short"):
        with pytest.raises(InvalidDocument) as refused:
            await w.standing.signer(unknown, epoch="b")
        assert (refused.value.code, refused.value.rule) == ("principal.unknown-key", 5)


async def test_an_owner_that_is_gone_from_the_directory_signs_nothing(w: World) -> None:
    w.vault.kept.documents.pop("remit/data/principals/user/bob")
    with pytest.raises(InvalidDocument):
        await w.standing.signer(signer("bob").key.kid, epoch="a")


async def test_staff_of_one_tenant_neither_stops_nor_lets_go_on_what_is_anothers(tmp_path: Path) -> None:
    plain = Catalogue.load(POLICIES / "catalogue.yaml").model_dump()
    apart = Catalogue.model_validate(merged(plain, {"people": {"carol": {"tenant": "other"}}}))
    async with world(tmp_path, PolicyEngine.load(POLICIES, apart)) as w:
        task, chain = await two(w)
        for about in (task, ALICE, ANALYST):
            await w.state(about, Event.REVOKED, by="carol")
        assert await statuses(w, chain) == [LIVE] * 5
        await w.state(task, Event.SUSPENDED)
        await w.state(task, Event.REINSTATED, by="carol", iat=NOW + 1)
        assert (await statuses(w, chain))[1] is SUSPENDED
