"""Attacks 37 and 42: an OpenBao that is down, slow, busy, failing, sealed, out of reach or somebody else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from temporalio.client import WorkflowExecutionStatus

from remit.vault import Token, Vault
from tests.faults import invariants
from tests.faults.ground import COUNT, Ground, noting
from tests.faults.meddler import FORBIDDEN, Listener, Meddler, Trouble, answering, reset, silent, slow

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

MIDDLE = "mid-tool.flights.count"
STEPS = [COUNT, noting("after")]
PATIENCE = 2.5
"""Seconds this worker waits for an answer of OpenBao; it is ten elsewhere."""


@pytest.fixture(scope="module")
async def meddler(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Meddler]:
    """A proxy, and a worker that reaches OpenBao only through it."""
    made = Meddler(ground.stack.openbao, tmp_path_factory.mktemp("meddler") / "home")
    await made.start()
    worker = await ground.ready_worker(
        "meddled",
        REMIT_OPENBAO_ADDRESS=made.address,
        REMIT_OPENBAO_CA=str(made.ca),
        FAULT_SECONDS=str(PATIENCE),
    )
    yield made
    made.trouble = None
    await ground.stop_worker(worker)
    await made.close()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    made = Listener()
    yield made
    await made.close()


async def begun(ground: Ground) -> str:
    """Return a task whose first step runs with its credential; the second has not begun."""
    ground.points.arm(MIDDLE)
    task = await ground.submit(STEPS)
    await ground.points.reached(MIDDLE)
    return task


async def held(ground: Ground, task: str, code: str) -> None:
    """See that the second step waits, says why, and neither minted nor did anything."""
    record = await ground.recorded(task, "held", step=2)
    assert record["code"] == code
    shown = await ground.until(task, "running")
    step = shown["steps"][1]
    assert step["state"] == "held"
    assert {attempt["outcome"] for attempt in step["attempts"]} == {"held"}
    assert {attempt["code"] for attempt in step["attempts"]} == {code}
    assert ground.points.noted("effect", task=task) == []
    assert len(ground.minted()) <= 1, "the first step's, which cannot be destroyed now"


async def resumed(ground: Ground, task: str) -> None:
    """See that a task goes on by itself, and leaves nothing."""
    await ground.completed(task)
    invariants.once(ground, task, effects=1)
    invariants.audited(ground, task)
    await invariants.nothing_left(ground)


TROUBLES: dict[str, tuple[Callable[[Meddler], Trouble], str]] = {
    "busy": (lambda _: answering(429), "vault.busy"),
    "failing": (lambda _: answering(500, b'{"errors":["internal error"]}'), "vault.failed"),
    "bad-gateway": (lambda _: answering(502, b"<html>bad gateway</html>"), "vault.failed"),
    "sealed": (lambda _: answering(503, b'{"errors":["Vault is sealed"]}'), "vault.sealed"),
    "not-json": (lambda _: answering(200, b"<html>sign in</html>"), "vault.failed"),
    "reset": (lambda _: reset, "vault.unreachable"),
    "silent": (lambda _: silent, "vault.unreachable"),
    "slow": (lambda meddler: slow(meddler, seconds=20), "vault.unreachable"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_an_outage_holds(ground: Ground, meddler: Meddler, trouble: str) -> None:
    """Attack 37: the step waits with a clear reason, nothing is minted or run, and it resumes by itself."""
    make, code = TROUBLES[trouble]
    task = await begun(ground)
    meddler.trouble = make(meddler)
    try:
        ground.points.release(MIDDLE)
        await held(ground, task, code)
    finally:
        meddler.trouble = None
    await resumed(ground, task)


async def test_a_standby_holds_and_is_not_followed(ground: Ground, meddler: Meddler, listener: Listener) -> None:
    """Attack 42: what a standby points at is not asked; the token goes nowhere else."""
    elsewhere = await listener.start()
    task = await begun(ground)
    meddler.trouble = answering(307, location=f"{elsewhere}/v1/remit/data/epoch")
    try:
        ground.points.release(MIDDLE)
        await held(ground, task, "vault.standby")
    finally:
        meddler.trouble = None
    await resumed(ground, task)
    assert listener.connections == 0


@pytest.mark.parametrize("status", [302, 308])
async def test_a_redirect_refuses(ground: Ground, meddler: Meddler, listener: Listener, status: int) -> None:
    """Attack 42: any other redirect is not OpenBao's, and is not followed either."""
    elsewhere = await listener.start()
    await refused(ground, meddler, answering(status, location=f"{elsewhere}/v1/x"), "vault.redirect")
    assert listener.connections == 0


async def test_forbidden_denies(ground: Ground, meddler: Meddler) -> None:
    """Attack 37: OpenBao's no is a no."""
    await refused(ground, meddler, answering(403, FORBIDDEN), "vault.forbidden")


async def refused(ground: Ground, meddler: Meddler, trouble: Trouble, code: str) -> None:
    """See that a step ends for good, with nothing minted and nothing run."""
    task = await begun(ground)
    meddler.trouble = trouble
    try:
        ground.points.release(MIDDLE)
        assert await ground.ended(task) is WorkflowExecutionStatus.FAILED
        assert len(ground.minted()) <= 1, "the first step's, which cannot be destroyed now"
    finally:
        meddler.trouble = None
    refusals = [one for one in ground.records(task) if one["step"] == 2]
    assert [(one["outcome"], one["code"]) for one in refusals] == [("refused", code)]
    invariants.once(ground, task, effects=0)
    invariants.audited(ground, task)
    await invariants.nothing_left(ground)


async def test_really_sealed(ground: Ground, meddler: Meddler) -> None:
    """Attack 37: sealed by its operator while a task runs; unsealed by a restart."""
    openbao = ground.stack.openbao
    task = await begun(ground)
    async with Vault(openbao.address, openbao.ca, Token(openbao.admin_token())) as admin:
        await admin.write("sys/seal")
    ground.points.release(MIDDLE)
    assert (await ground.recorded(task, "held", step=2))["code"] == "vault.sealed"
    assert ground.points.noted("effect", task=task) == []
    ground.kill("openbao")
    await ground.revive()
    await resumed(ground, task)


async def test_a_lost_credential_is_not_made_twice(ground: Ground, meddler: Meddler) -> None:
    """Attack 38: the answer of the mint is lost and the mint repeated: one credential lives while the tool runs."""
    meddler.lost.clear()
    meddler.lose("/v1/database/creds/flights-ro")
    task = await begun(ground)
    assert meddler.lost == ["/v1/database/creds/flights-ro"]
    try:
        # The lost one's login is ended, and its credential with it a moment later.
        await invariants.only(ground, 1)
    finally:
        ground.points.release(MIDDLE)
    await resumed(ground, task)
