"""Heads over OpenBao in memory: what they vouch for, outages, and who shares them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from remit import jose, sealing
from remit.audit import leaves_digest
from remit.errors import Held, InvalidDocument, Refused
from remit.evidence import folder, kept
from remit.evidence.keys import Keys
from remit.sealing import TYP, Head
from tests.unit.documents import AUDIENCE, DOMAIN, NOW, signer
from tests.unit.world import World, world

AUTHORITY = f"spiffe://{DOMAIN}/authority"
STORED = "POST remit/data/audit"
KEYS = Keys({signer("steps").key.kid: (AUTHORITY, signer("steps").key)}, AUTHORITY)


async def tried(w: World, *, task: str = "task") -> None:
    """Write a record: of an attempt that is refused."""
    made = await w.delegate(task=task)
    with pytest.raises(Refused):
        await w.authorize(made.attempt(credential="no-such"))


async def checked(w: World) -> folder.Report:
    files = {path.name: path.read_bytes() for path in w.folder.glob("*.jsonl")}
    return folder.check(files, heads=await kept.collect(w.registry.heads, every=None), keys=KEYS)


async def test_a_head_says_how_far_its_writer_is(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        assert await w.authority.seal() is None
        await tried(w)
        first = await w.authority.seal()
        assert first is not None
        head = Head.from_claims(jose.verify(first["head"], typ=TYP, key=signer("steps").key))
        (stored,) = await kept.collect(w.registry.heads)
        assert stored.sealed.head == first["head"]
        assert (head.iss, head.aud, head.iat) == (AUTHORITY, AUDIENCE, NOW)
        assert (head.writer, head.seq, head.closed) == (first["writer"], 1, False) == (stored.writer, stored.seq, False)
        assert head.tasks == leaves_digest(stored.sealed.leaves)
        assert await w.authority.seal() == first, "nothing new, nothing signed"
        assert (await checked(w)).valid
    assert [one.seq for one in await kept.collect(w.registry.heads, every=None)] == [1, 2]
    report = await checked(w)
    assert report.valid
    assert report.counted == {"files": 1, "records": 2, "heads": 2, "unsealed": 0}


async def test_who_asks_while_a_head_is_made_shares_the_next(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await tried(w)
        going, go = asyncio.Event(), asyncio.Event()

        async def slow() -> None:
            going.set()
            await go.wait()

        w.vault.meanwhile(STORED, slow)
        first = asyncio.create_task(w.authority.seal())
        await going.wait()
        await tried(w, task="another")
        later = [asyncio.create_task(w.authority.seal()) for _ in range(20)]
        await asyncio.sleep(0)
        go.set()
        found = [await one for one in (first, *later)]
        assert [one["seq"] for one in found if one] == [1, *[2] * 20]
        assert (
            sum(path.startswith("remit/data/audit") for method, path, _ in w.vault.kept.asked if method == "POST") == 2
        )


@pytest.mark.parametrize("lost", [True, False])
async def test_an_outage_delays_a_head_and_loses_nothing(tmp_path: Path, lost: bool) -> None:
    """Whether the head was stored and the answer lost, or not stored at all."""
    async with world(tmp_path) as w:
        await tried(w)
        if lost:
            w.vault.kept.broken[STORED] = 503
        else:
            down(w)
        for _ in range(2):
            with pytest.raises(Held):
                await w.authority.seal()
        grant = await w.authorize((await w.delegate()).attempt())
        await w.authority.release(grant, outcome="ok")
        w.vault.kept.broken.clear()
        up(w)
        sealed = await w.authority.seal()
        assert sealed is not None
        assert sealed["seq"] == 3
        report = await checked(w)
        assert report.valid
        assert report.counted["unsealed"] == 0


async def test_the_same_head_is_stored_again_after_an_answer_was_lost(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await tried(w)
        w.vault.kept.broken[STORED] = 503
        with pytest.raises(Held):
            await w.authority.seal()
        w.vault.kept.broken.clear()
        w.now += 5
        assert await w.authority.seal() is not None
        (head,) = await kept.collect(w.registry.heads, every=None)
        assert Head.from_claims(jose.verify(head.sealed.head, typ=TYP, key=signer("steps").key)).iat == NOW


async def test_a_head_that_stands_in_the_way_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await tried(w)
        writer = w.records()[0]["writer"]
        await w.registry.heads.put("forged", writer=writer, seq=1, leaves=())
        with pytest.raises(Refused) as refused:
            await w.authority.seal()
        assert refused.value.code == "registry.exists"
        assert [one.code for one in (await checked(w)).findings] == ["audit.forged"]
        await tried(w, task="another")
        assert await w.authority.seal() is not None, "the next one is no hostage"


async def test_heads_are_made_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sealing, "SECONDS", 0.01)
    async with world(tmp_path) as w:
        await tried(w)
        down(w)
        going = asyncio.create_task(w.sealing.run())
        await until(lambda: "not sealed" in caplog.text)
        up(w)
        await until(lambda: any(path.startswith("remit/data/audit/") for path in w.vault.kept.documents))
        going.cancel()


async def test_closing_waits_for_the_last_head_only_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sealing, "AT_THE_END", 0.05)
    async with world(tmp_path) as w:
        await tried(w)
        w.vault.meanwhile(STORED, asyncio.Event().wait)
    assert "not sealed" in caplog.text
    assert (await checked(w)).counted["unsealed"] == 2


@pytest.mark.parametrize(
    "changes", [{"seq": "1"}, {"closed": 1}, {"writer": "../x"}, {"hash": "sha256:0"}, {"tasks": "x"}, {"more": 1}]
)
def test_a_head_is_read_strictly(changes: dict[str, Any]) -> None:
    claims = Head(AUTHORITY, AUDIENCE, NOW, "a" * 32, 1, "sha256:" + "0" * 64, False, leaves_digest(())).to_claims()
    assert Head.from_claims(claims).to_claims() == claims
    with pytest.raises(InvalidDocument):
        Head.from_claims({**claims, **changes})


async def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def down(w: World) -> None:
    """Let OpenBao store no head from now on."""
    real = w.vault._answer

    def answer(method: str, path: str, body: Any, token: str) -> tuple[int, Any]:
        return (503, b"{}") if f"{method} {path}".startswith(STORED) else real(method, path, body, token)

    w.vault._answer = answer  # type: ignore[method-assign]


def up(w: World) -> None:
    vars(w.vault).pop("_answer", None)
