"""Payloads encrypted with OpenBao's keys: what Temporal stores of a task, who can read it, and what an outage does."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowHandle
from temporalio.converter import DataConverter, DefaultFailureConverter
from temporalio.exceptions import ApplicationError

from remit import codec
from remit.assembly import temporal_client
from remit.client import Remit
from remit.client.connection import Connection
from remit.embedded import Stack
from remit.errors import Held, Refused
from remit.settings import Settings
from remit.vault import Vault
from remit.vault.datakeys import LIFE_SECONDS, MOST_USES, DataKeys

from .service import asks, followed, job, queries, running, serving, submit, until

pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

CANARY = "blue-heron-7731"
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(CANARY).encode())


@pytest.fixture
async def people(settings: Settings) -> AsyncIterator[dict[str, Connection]]:
    made = {name: Connection(settings, name) for name in ("alice", "carol")}
    yield made
    for one in made.values():
        await one.close()


def keys(vault: Vault, **options: Any) -> DataKeys:
    return DataKeys(lambda: vault, **options)


@pytest.fixture
def secret(settings: Settings) -> Settings:
    return settings.model_copy(update={"encrypt": True, "task_queue": "secret"})


async def stored(handle: WorkflowHandle[Any, Any]) -> str:
    """Return a history as Temporal stores it, everything in it that is base64 decoded."""
    history = json.loads((await handle.fetch_history()).to_json())
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)
        elif isinstance(value, str):
            found.append(value)
            with suppress(ValueError):
                found.append(base64.b64decode(value, validate=True).decode(errors="replace"))

    walk(history)
    return "\n".join(found)


async def test_a_task_runs_and_its_history_tells_only_readers(
    stack: Stack, settings: Settings, secret: Settings
) -> None:
    plain = await temporal_client(settings)
    async with serving(secret):
        task = await submit(secret, job(f"[{asks(f'select 1 as n, $${CANARY}$$ as word')}, {asks('select nothing')}]"))
        shown = await until(secret, task, "failed")
    assert shown["steps"][0]["state"] == "done"
    text = await stored(plain.get_workflow_handle(task))
    assert CANARY not in text
    assert "select" not in text
    assert "Encoded failure" in text
    assert text.count("vault:v1:") > 4
    async with Remit.open(secret, person="alice") as alice:
        history = await (await alice.connection.temporal()).get_workflow_handle(task).fetch_history()
        read = await codec.encrypting(alice.connection.vault).decode(
            history.events[0].workflow_execution_started_event_attributes.input.payloads
        )
        assert CANARY in json.dumps(read)
    # The same look at a history that is not encrypted finds it: the search can find.
    async with serving(settings):
        open_task = await submit(settings, job(f"[{asks(f'select $${CANARY}$$ as word')}]"))
        await until(settings, open_task, "completed")
    assert CANARY in await stored(plain.get_workflow_handle(open_task))


async def test_an_outage_holds_a_running_task_and_fails_nothing(
    stack: Stack, secret: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenBao goes away for the codec while a step runs: arguments, results and failures wait for it."""
    down = asyncio.Event()
    asked = DataKeys._patiently

    async def meddled(self: DataKeys, ask: Any) -> Any:
        async def broken() -> Any:
            if down.is_set():
                raise Held("OpenBao is away", code="vault.unreachable")
            return await ask()

        self._patience = 0.5
        return await asked(self, broken)

    monkeypatch.setattr(DataKeys, "_patiently", meddled)
    async with serving(secret):
        task = await submit(secret, job(f"[{asks('select pg_sleep(4), 4711 as n')}, {asks('select 1 as n')}]"))
        await running(stack, "4711")
        monkeypatch.setattr("remit.vault.datakeys.LIFE_SECONDS", 0.0)  # no key may encrypt any more
        down.set()
        while queries(stack, "4711"):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        await asyncio.sleep(3)
        monkeypatch.setattr("remit.vault.datakeys.LIFE_SECONDS", 3600.0)
        down.clear()
        shown = await until(secret, task, "completed", seconds=60)
    assert [step["state"] for step in shown["steps"]] == ["done", "done"]
    history = await stored((await temporal_client(secret)).get_workflow_handle(task))
    assert "select" not in history


async def test_who_may_not_read_can_still_stop_and_is_told_why_nothing_is_shown(stack: Stack, secret: Settings) -> None:
    async with serving(secret):
        task = await submit(secret, job(f"[{asks('select pg_sleep(30), 4712 as n')}]"))
        await running(stack, "4712")
        async with Remit.open(secret, person="carol") as carol:
            with pytest.raises(Refused) as refused:
                await carol.show(task)
            assert refused.value.code == "codec.forbidden"
            deadline = time.monotonic() + 60
            while not (listed := await carol.tasks(query=f"WorkflowId = '{task}'")):
                assert time.monotonic() < deadline, "Temporal never listed it"
                await asyncio.sleep(0.1)
            assert [one["state"] for one in listed] == ["running"]
            stopped = await followed(carol, await carol.revoke(task, "a test"))
            assert (stopped.pending, stopped.tasks, stopped.complete) == ((), 1, True)
        assert (await until(secret, task, "halted"))["state"] == "halted"


async def test_with_the_setting_off_again_what_was_encrypted_is_still_read(
    settings: Settings, secret: Settings
) -> None:
    async with serving(secret):
        task = await submit(secret, job(f"[{asks('select 1 as n')}]"))
        await until(secret, task, "completed")
    async with Remit.open(settings, person="alice") as alice:
        assert (await alice.show(task))["state"] == "completed"
        result = await (await alice.connection.temporal()).get_workflow_handle(task).result()
        assert result is not None


async def test_who_may_encrypt_and_who_may_read(stack: Stack, people: dict[str, Connection]) -> None:
    alice, carol = (codec.encrypting(people[name].vault) for name in ("alice", "carol"))
    sealed = await carol.encode([CANARY])
    assert sealed[0].metadata["encoding"] == codec.ENCODING
    assert CANARY.encode() not in sealed[0].SerializeToString()
    assert await alice.decode(sealed) == [CANARY]
    fresh = codec.encrypting(people["carol"].vault)
    with pytest.raises(Refused) as refused:
        await fresh.decode(sealed)
    assert refused.value.code == "codec.forbidden"
    # Not through another door either: the key itself, or OpenBao's own decryption of anything else.
    for path, data in (
        ("transit/keys/remit-payloads/config", {"exportable": True}),
        ("transit/rewrap/remit-payloads", {}),
    ):
        with pytest.raises(Refused) as refused:
            await people["carol"].vault.write(path, **data)
        assert refused.value.code == "vault.forbidden"
    for name in people:
        with pytest.raises(Refused):
            await people[name].vault.read("transit/export/encryption-key/remit-payloads")


async def test_a_reader_who_is_struck_off_reads_no_more(stack: Stack, settings: Settings) -> None:
    bob = Connection(settings, "bob")
    try:
        sealed = await codec.encrypting(bob.vault).encode([CANARY])
        reader = codec.encrypting(bob.vault, keep=0)
        assert await reader.decode(sealed) == [CANARY]
        async with stack_admin(stack) as admin:
            await admin.write("identity/entity/name/user-bob", policies=["remit-person", "remit-revoke"])
            try:
                with pytest.raises(Refused) as refused:
                    await reader.decode(sealed)
                assert refused.value.code == "codec.forbidden"
            finally:
                await admin.write(
                    "identity/entity/name/user-bob", policies=["remit-person", "remit-reader", "remit-revoke"]
                )
    finally:
        await bob.close()


@pytest.mark.parametrize("where", ["data", "nonce", "key", "short", "none"])
async def test_a_changed_payload_is_refused(people: dict[str, Connection], where: str) -> None:
    made = codec.Codec(keys(people["alice"].vault))
    (sealed,), (other,) = await made.encode([PLAIN]), await codec.Codec(keys(people["alice"].vault)).encode([PLAIN])
    if where == "data":
        sealed.data = sealed.data[:-1] + bytes([sealed.data[-1] ^ 1])
    elif where == "nonce":
        sealed.data = bytes([sealed.data[0] ^ 1]) + sealed.data[1:]
    elif where == "key":
        assert sealed.metadata[codec.KEY] != other.metadata[codec.KEY]
        sealed.metadata[codec.KEY] = other.metadata[codec.KEY]
    elif where == "short":
        sealed.data = sealed.data[:5]
    else:
        del sealed.metadata[codec.KEY]
    with pytest.raises(Refused) as refused:
        await made.decode([sealed])
    assert refused.value.code == "codec.payload"


async def test_what_is_not_encrypted_passes(people: dict[str, Connection]) -> None:
    assert await codec.Codec(None).decode([PLAIN]) == [PLAIN]
    with pytest.raises(Refused) as refused:
        await codec.Codec(None).encode([PLAIN])
    assert refused.value.code == "codec.session"
    # Whatever kind of payload it is, it comes back as it was, with its metadata.
    kinds = [
        PLAIN,
        Payload(),
        Payload(metadata={"encoding": b"binary/null"}),
        Payload(metadata={"x": b"\0"}, data=b"\xff"),
    ]
    made = codec.Codec(keys(people["alice"].vault))
    assert await made.decode(await made.encode(kinds)) == kinds
    assert await made.encode([]) == []


async def test_a_data_key_serves_an_hour_or_a_million_payloads(people: dict[str, Connection]) -> None:
    now = [0.0]
    made = keys(people["alice"].vault, clock=lambda: now[0])
    first = await made.to_encrypt(1)
    now[0] = LIFE_SECONDS / 2 - 1
    assert await made.to_encrypt(1) is first
    now[0] = LIFE_SECONDS / 2 + 1
    second = await made.to_encrypt(1)
    assert second.wrapped != first.wrapped
    second.used = MOST_USES
    third = await made.to_encrypt(1)
    assert third.wrapped != second.wrapped
    now[0] += LIFE_SECONDS
    assert (await made.to_encrypt(1)).wrapped not in (first.wrapped, second.wrapped, third.wrapped)


async def test_without_openbao_nothing_is_encrypted_nor_read_and_an_ageing_key_serves_on(
    people: dict[str, Connection],
) -> None:
    now = [0.0]
    alice = people["alice"].vault
    gone = Vault("https://127.0.0.1:1", alice.ca, alice._login)
    where = [alice]
    made = DataKeys(lambda: where[0], patience=0.2, keep=0, clock=lambda: now[0])
    one = codec.Codec(made)
    sealed = await one.encode([PLAIN])
    where[0] = gone
    try:
        now[0] = LIFE_SECONDS - 1
        assert (await one.encode([PLAIN]))[0].metadata[codec.KEY] == sealed[0].metadata[codec.KEY]
        now[0] = LIFE_SECONDS + 1
        for call in (one.encode([PLAIN]), one.decode(sealed)):
            with pytest.raises(Held):
                await call
        where[0] = alice
        assert await one.decode(sealed) == [PLAIN]
    finally:
        await gone.close()


async def test_an_outage_is_told_as_one_and_says_nothing_else(people: dict[str, Connection]) -> None:
    from remit.temporal._failure import facts_of, to_application_error

    alice = people["alice"].vault
    gone = Vault("https://127.0.0.1:1", alice.ca, alice._login)
    made = codec.sealing(DataKeys(lambda: gone, patience=0.2))
    try:
        with pytest.raises(Held) as held:
            await made.encode([CANARY])
        for error in (_wrapped(held.value, CANARY), to_application_error(held.value), held.value):
            payload = await _failure(made, error)  # without OpenBao
            assert CANARY not in str(payload)
            back = await made.decode_failure(payload)
            assert facts_of(back)[0] == "Held"
            assert facts_of(back)[1]["code"] == "vault.unreachable"
        with pytest.raises(Held):
            await _failure(made, ValueError(CANARY))  # never in clear
    finally:
        await gone.close()


async def test_a_failure_is_read_back_and_passed_on_without_being_told(people: dict[str, Connection]) -> None:
    made = codec.encrypting(people["alice"].vault)
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as cause:
            raise ApplicationError(f"it failed: {CANARY}", {"word": CANARY}, type="Odd") from cause
    except ApplicationError as error:
        failure = await _failure(made, error)
    for _ in range(3):  # as a parent passes on what its child said
        text = str(failure)
        assert CANARY not in text
        assert "test_codec" not in text  # the stack trace
        assert failure.application_failure_info.type == "Odd"
        back = await made.decode_failure(failure)
        assert isinstance(back, ApplicationError)
        assert (back.message, back.details) == (f"it failed: {CANARY}", ({"word": CANARY},))
        failure = await _failure(made, back)


async def test_the_users_own_codec_and_failures_are_kept(people: dict[str, Connection]) -> None:
    from temporalio.converter import PayloadCodec

    class Reverses(PayloadCodec):
        async def encode(self, payloads: Any) -> list[Payload]:
            return [Payload(metadata={"encoding": b"x/reversed"}, data=p.SerializeToString()[::-1]) for p in payloads]

        async def decode(self, payloads: Any) -> list[Payload]:
            return [Payload.FromString(p.data[::-1]) for p in payloads]

    class Own(DefaultFailureConverter):
        def to_failure(self, exception: BaseException, payload_converter: Any, failure: Any) -> None:
            super().to_failure(exception, payload_converter, failure)
            failure.source = "own"

    mine = DataConverter(payload_codec=Reverses(), failure_converter_class=Own)
    made = codec.encrypting(people["alice"].vault, over=mine)
    sealed = await made.encode([CANARY])
    assert sealed[0].metadata["encoding"] == codec.ENCODING
    assert await made.decode(sealed) == [CANARY]
    assert (await _failure(made, ValueError(CANARY))).source == "own"


async def test_a_plain_client_reads_nothing(settings: Settings, secret: Settings) -> None:
    """Without a session there is no plain text, going or coming, where payloads are to be encrypted."""
    client: Client = await temporal_client(secret)
    with pytest.raises(Refused) as refused:
        await client.start_workflow("AgentTask", CANARY, id="never-started", task_queue="nobody")
    assert refused.value.code == "codec.session"


def _wrapped(error: BaseException, message: str) -> ApplicationError:
    made = ApplicationError(message, non_retryable=True)
    made.__cause__ = error
    return made


async def _failure(converter: DataConverter, error: BaseException) -> Any:
    from temporalio.api.failure.v1 import Failure

    made = Failure()
    await converter.encode_failure(error, made)
    return made


def stack_admin(stack: Stack) -> Vault:
    from remit.vault import Token

    return Vault(stack.openbao.address, stack.openbao.ca, Token(stack.openbao.admin_token()))
