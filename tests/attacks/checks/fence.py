"""Attacks on credentials, budgets and names: what is minted meanwhile, spent twice or asked of OpenBao itself."""

from __future__ import annotations

from remit.credentials.lease import Occasion
from remit.delegation import Scope
from remit.ledger import Reservation
from remit.statements import Event
from remit.vault import steps
from remit.vault.paths import join, under
from tests.attacks.checks.row import Row, Rows
from tests.unit.documents import NOW
from tests.unit.documents import uuid as numbered
from tests.unit.world import World


async def once_more(w: World) -> object:
    task = await w.delegate()
    await w.authorize(task.attempt(once=True))
    return await w.authorize(task.attempt(once=True, attempt=2))


async def revoked_while_minting(w: World) -> object:
    task = await w.delegate()
    w.vault.meanwhile("GET database/creds", lambda: w.state(task, Event.REVOKED))
    return await w.authorize(task.attempt(credential="flights-ro"))


async def absent(w: World) -> object:
    del w.vault._secrets["remit-secrets/data/weather-api"]
    return await w.authorize((await w.delegate()).attempt(credential="weather-api"))


async def for_no_service(w: World) -> object:
    task = await w.delegate()
    chain = await w.authority._chains.load(task.reference, epoch=await w.standing.epoch())
    occasion = Occasion(numbered(1), "task", "run-1", 1, 1, "", Scope(("read",), ("flights",), 1))

    async def live() -> None:
        await w.standing.require_live(chain)

    profile = w.policy.catalogue.credentials["service-token"]
    return await w.mint.mint(profile, occasion=occasion, chain=chain, longest=60, require_live=live)


async def of_no_database(w: World) -> object:
    w.mint._postgres = {}
    return await w.authorize((await w.delegate()).attempt(credential="flights-ro"))


async def too_long(w: World) -> object:
    task = await w.delegate(exp=NOW + 3 * 86_400)
    grant = await w.authorize(task.attempt(credential="flights-ro"))
    w.now += 9 * 3600
    return await w.authority.watch(grant)


async def overspent(w: World) -> object:
    return await w.ledger.reserve([("a", 1)], root="a", cost=2)


async def given_back(w: World) -> object:
    reserved = await w.ledger.reserve([("a", 9)], root="a", cost=1)
    return await w.ledger.settle(Reservation("a", ("a",), 1, reserved.number), spent=-5)


ROWS: Rows = {
    "doing.Doing._claim: _begun": Row(once_more, "step.once"),
    "ledger.Ledger._take: _short": Row(overspent, "budget.exceeded"),
    "ledger.Ledger.settle: ValueError": Row(given_back, "lost"),
    "ledger.Ledger.reserve: ValueError": Row(lambda w: w.ledger.reserve([("a", 1)], root="a", cost=-5), "lost"),
    "credentials.mint.Mint._fenced: answer": Row(revoked_while_minting, "chain.revoked"),
    "credentials.mint.Mint._fenced: absent": Row(absent, "credential.absent", lost=True),
    "credentials.mint.Mint._downstream: audience": Row(for_no_service, "credential.audience"),
    "credentials.mint.Mint._lease: postgres": Row(of_no_database, "settings.postgres"),
    "running.Running.watch: ttl": Row(too_long, "credential.ttl"),
    "vault.steps.answered: login": Row(
        lambda _: steps.answered({"auth": {"client_token": "s.1", "accessor": None}}), "vault.login"
    ),
    "vault.paths.checked: _refused": Row(lambda w: w.vault.read("remit/../sys/policies"), "vault.name"),
    "vault.paths.join: _refused": Row(lambda _: join("principals", "../../sys"), "vault.name"),
    "vault.paths.under: _refused": Row(lambda _: under("transit/sign", "key?x"), "vault.name"),
}
