"""The OpenBao client against the real server, against one that is down or sealed, and against impostors."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import time
import uuid
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import hvac.exceptions
import pytest

from remit.embedded import ports as port_blocks
from remit.embedded import process
from remit.embedded.openbao import OpenBao
from remit.embedded.state import StateFolder
from remit.errors import Held, Refused, RemitError, Usage
from remit.vault import Documents, JwtLogin, Session, Shared, Token, TokenFile, TransitSigner, UserpassLogin, Vault
from tests.integration.site import Site, site

pytestmark = pytest.mark.servers

BAD_NAMES = [
    "../../sys/policies/acl/root",
    "..",
    ".",
    "",
    "a/b",
    "%2e%2e",
    "a%2fb",
    "a//b",
    "a?list=true",
    "a#b",
    "a\x00b",
    "a\r\nX-Vault-Token: x",
    "a\n",
    "*",
    "+",
    "a b",
    "'a'",
    '"a"',
    "a;b",
    "a\\b",
    "ä",
    "а",  # Cyrillic
    "a" * 64,
    "-a",
]


@pytest.fixture(scope="module")
async def made(openbao: Any) -> AsyncIterator[Site]:
    async with site(openbao) as one:
        yield one


@asynccontextmanager
async def impostor(answer: bytes | Callable[[bytes], bytes | None]) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Listen on loopback and answer whatever comes with the same bytes; None answers nothing."""
    asked: list[bytes] = []
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in head.split(b"\r\n")
                        if line.lower().startswith(b"content-length")
                    ),
                    0,
                )
                asked.append(head + await reader.readexactly(length))
                said = answer if isinstance(answer, bytes) else answer(head)
                if said is None:
                    await asyncio.sleep(30)
                writer.write(said or b"")
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", asked
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.sleep(0)


def http(status: int, body: bytes = b'{"errors":[]}', headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def code_of(call: Awaitable[Any], kind: type[RemitError]) -> str:
    with pytest.raises(kind) as caught:
        await call
    assert type(caught.value) is kind
    return caught.value.code


# Attack 41: names


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_a_bad_name_is_refused_before_any_io(name: str) -> None:
    async with impostor(http(200, b'{"data":{}}')) as (address, asked), Vault(address, None, Token("t")) as vault:
        for call in (
            vault.read(f"database/creds/{name}"),
            vault.write(f"remit/data/{name}", data={}),
            vault.list(f"remit/metadata/{name}/x"),
            vault.delete(f"{name}/x"),
        ):
            if name == "a/b":
                call.close()
                continue
            assert await code_of(call, Refused) == "vault.name"
        if name != "a" * 64:
            assert (
                await code_of(UserpassLogin(name, lambda: "x").log_in(vault._unauthenticated), Refused) == "vault.name"
            )
        with pytest.raises(Refused) as caught:
            vault.hvac.read(f"secret/{name}/x" if name != "a/b" else "secret/../x")
        assert caught.value.code == "vault.name"
        assert asked == []


async def test_names_reach_the_registry_as_one_segment_or_not_at_all(made: Site) -> None:
    from remit.registry import Registry

    registry = Registry(made.person("alice"))
    for name in BAD_NAMES:
        assert await code_of(registry.delegation(name), Refused) == "vault.name"
        assert await code_of(registry.live.forget("root", name), Refused) == "vault.name"


async def test_addresses_that_would_leak_the_token_are_refused(tmp_path: Path) -> None:
    for address in (
        "http://openbao.example:8200",
        "ftp://127.0.0.1",
        "https://user@host",
        "https://host/v1",
        "nonsense",
        "",
    ):
        with pytest.raises(Usage) as caught:
            Vault(address, None, Token("t"))
        assert caught.value.code == "vault.address"
    with pytest.raises(Usage) as caught:
        Vault("https://127.0.0.1:1", tmp_path / "absent.pem", Token("t"))
    assert caught.value.code == "vault.ca"
    with pytest.raises(Usage) as caught:
        Vault("https://127.0.0.1:1", None, Token("t"), namespace="a\r\nX-Vault-Token: x")
    assert caught.value.code == "vault.namespace"


# Attack 42: redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with impostor(http(200, b'{"data":{"stolen":true}}')) as (elsewhere, stolen):
        answer = http(status, b"", f"Location: {elsewhere}/v1/remit/data/epoch\r\n")
        async with impostor(answer) as (address, asked), Vault(address, None, Token("s.secret")) as vault:
            kind, code = (Held, "vault.standby") if status == 307 else (Refused, "vault.redirect")
            for call in (vault.read("remit/data/epoch"), vault.write("remit/data/epoch", data={}), vault.list("remit")):
                assert await code_of(call, kind) == code
            await vault.session()
            client = vault.hvac
            with pytest.raises(kind) as caught:
                await asyncio.to_thread(client.read, "remit/data/epoch")
            assert caught.value.code == code
            client.adapter.close()
            assert len(asked) == 4
        assert stolen == []


# Attack 37: outages hold, refusals end

STATUSES = [
    (400, Refused, "vault.rejected"),
    (403, Refused, "vault.forbidden"),
    (405, Refused, "vault.rejected"),
    (429, Held, "vault.busy"),
    (412, Held, "vault.failed"),
    (472, Held, "vault.failed"),
    (473, Held, "vault.failed"),
    (500, Held, "vault.failed"),
    (502, Held, "vault.failed"),
    (503, Held, "vault.sealed"),
    (504, Held, "vault.failed"),
    (599, Held, "vault.failed"),
]


@pytest.mark.parametrize(("status", "kind", "code"), STATUSES)
async def test_what_a_bad_answer_means(status: int, kind: type[RemitError], code: str) -> None:
    said = b'{"errors":["one\\nline \\u001b[31mred"]}'
    async with impostor(http(status, said)) as (address, asked), Vault(address, None, Token("s.secret")) as vault:
        for call in (vault.read("a/b"), vault.write("a/b", x=1), vault.list("a"), vault.delete("a/b")):
            with pytest.raises(kind) as caught:
                await call
            assert caught.value.code == code
            assert "\n" not in str(caught.value)
            assert "\x1b" not in str(caught.value)
            assert "s.secret" not in str(caught.value)
        assert len(asked) == 4
        client = vault.hvac
        with pytest.raises(kind) as caught:
            await asyncio.to_thread(client.read, "a/b")
        assert caught.value.code == code
        client.adapter.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nnotjson",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b"[" * 10_000_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: zero\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    ],
    ids=["not JSON", "a list", "too deep", "a length that is none", "two lengths", "not HTTP", "an endless head"],
)
async def test_an_answer_that_is_none_holds(answer: bytes) -> None:
    async with impostor(answer) as (address, _), Vault(address, None, Token("t")) as vault:
        assert await code_of(vault.read("a/b"), Held) in ("vault.failed", "vault.unreachable")


async def test_a_silent_server_holds_within_the_deadline() -> None:
    async with impostor(lambda _: None) as (address, _), Vault(address, None, Token("t"), timeout=0.3) as vault:
        began = time.perf_counter()
        assert await code_of(vault.read("a/b"), Held) == "vault.unreachable"
        assert time.perf_counter() - began < 20


async def test_a_read_survives_a_connection_the_server_had_closed_and_a_write_is_not_repeated() -> None:
    closing = False

    def answer(_head: bytes) -> bytes:
        return http(200, b'{"data":{}}', "Connection: close\r\n" if closing else "")

    async with impostor(answer) as (address, asked), Vault(address, None, Token("t")) as vault:
        for _ in range(3):
            closing = not closing
            assert await vault.read("a/b")
        assert await vault.write("a/b", x=1)
        assert len(asked) == 4


async def test_a_server_nobody_vouches_for_holds(openbao: Any) -> None:
    async with Vault(openbao.address, None, Token("t")) as vault:
        with pytest.raises(Held) as caught:
            await vault.read("sys/health")
        assert caught.value.code == "vault.unreachable"
        assert "not trusted" in str(caught.value)


async def test_down_sealed_and_back(tmp_path: Path) -> None:
    """One real server, sealed, killed and started again; the client does nothing but ask."""
    state = StateFolder.open(tmp_path / "home")
    server = OpenBao(state, port_blocks.choose(0))
    command = await asyncio.to_thread(server.prepare)
    running = await asyncio.to_thread(process.start, command, state)
    try:
        await asyncio.to_thread(running.wait_until, server.ready, seconds=60, abandoned=Event())
        await asyncio.to_thread(server.finish)
        token = await asyncio.to_thread(server.admin_token)
        async with Vault(server.address, server.ca, Token(token)) as vault:
            await vault.write("sys/mounts/remit", type="kv", options={"version": "1"})
            await vault.write("remit/a", x=1)
            await vault.write("sys/seal")
            assert await code_of(vault.read("remit/a"), Held) == "vault.sealed"
            os.kill(running.identity.pid, signal.SIGKILL)
            await asyncio.to_thread(running.stop)
            assert await code_of(vault.read("remit/a"), Held) == "vault.unreachable"
            assert await code_of(vault.write("remit/a", x=2), Held) == "vault.unreachable"
            running = await asyncio.to_thread(process.start, command, state)
            await asyncio.to_thread(running.wait_until, server.ready, seconds=60, abandoned=Event())
            answer = await vault.read("remit/a")
            assert answer is not None
            assert answer["data"] == {"x": 1}
    finally:
        await asyncio.to_thread(running.stop)


# Sessions


async def test_what_is_not_there_is_none(made: Site) -> None:
    vault = made.admin
    assert await vault.read("remit/data/absent") is None
    assert await vault.list("remit/metadata/absent") == []
    await vault.delete("remit-live/absent")
    assert await vault.read("nowhere/at/all") is None
    assert await code_of(vault.write("nowhere/at/all", x=1), Refused) == "vault.absent"
    assert await code_of(Documents(vault, "nowhere").create("x", {}), Refused) == "vault.absent"


async def test_nothing_is_sent_once_it_was_closed(made: Site) -> None:
    """What was still under way when a process shut down opens no connection that nobody would close."""
    vault = made.vault(UserpassLogin("alice", lambda: made.passwords["alice"]))
    assert await vault.read("remit/data/epoch")
    await vault.close()
    assert await code_of(vault.read("remit/data/epoch"), Held) == "vault.closed"
    await vault.close()


async def test_a_cancelled_request_leaves_no_connection_behind(made: Site) -> None:
    """A connection whose request was cancelled ends by itself, later; later there may be no event loop any more."""

    async def cancelled(after: float) -> None:
        login = UserpassLogin("alice", lambda: made.passwords["alice"])
        async with Vault(made.server.address, made.server.ca, login, namespace=made.namespace) as vault:
            await vault.read("remit/data/epoch")
            reading = [asyncio.ensure_future(vault.read("remit/data/epoch")) for _ in range(8)]
            await asyncio.sleep(after)
            for one in reading:
                one.cancel()
            await asyncio.wait(reading)

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for number in range(20):
            await asyncio.to_thread(asyncio.run, cancelled(number * 0.0008))
        gc.collect()
    assert [str(one.message) for one in said if one.category is ResourceWarning] == []


async def test_many_callers_log_in_once(made: Site) -> None:
    logins = 0

    class Counting:
        async def log_in(self, call: Any) -> Session:
            nonlocal logins
            logins += 1
            return await UserpassLogin("alice", lambda: made.passwords["alice"]).log_in(call)

    vault = made.vault(Counting())
    await asyncio.gather(*(vault.read("remit/data/epoch") for _ in range(30)))
    assert logins == 1
    first = await vault.session()
    await made.admin.write("auth/token/revoke-accessor", accessor=first.accessor)
    await asyncio.gather(*(vault.read("remit/data/epoch") for _ in range(30)))
    assert logins == 2


async def test_a_session_is_renewed_before_it_ends(made: Site) -> None:
    vault = made.vault(JwtLogin("agent", lambda: made.workload("agent/flight-analyst")))
    first = await vault.session()
    assert (await vault.session()).token == first.token
    assert first.ttl == 900
    vault._session = replace(first, expires_at=time.time() + 59)
    assert (await vault.session()).token != first.token


async def test_a_session_kept_in_a_file(made: Site, tmp_path: Path) -> None:
    path = tmp_path / "sessions" / "alice"
    session = await made.person("alice").session()
    TokenFile.write(path, session)
    assert path.stat().st_mode & 0o777 == 0o600
    vault = made.vault(TokenFile(path))
    assert await vault.entity_id() == await made.person("alice").entity_id()
    path.chmod(0o644)
    assert await code_of(made.vault(TokenFile(path)).session(), Refused) == "vault.session"
    path.chmod(0o600)
    path.write_text("{}")
    assert await code_of(made.vault(TokenFile(path)).session(), Refused) == "vault.session"
    path.unlink()
    assert await code_of(made.vault(TokenFile(path)).session(), Refused) == "vault.session"
    TokenFile.write(path, Session("t", expires_at=time.time() - 1))
    assert await code_of(made.vault(TokenFile(path)).session(), Refused) == "vault.session"
    assert session.token not in repr(session) + repr(TokenFile(path))


async def test_hvac_works_on_our_transport(made: Site) -> None:
    vault = made.person("alice")
    await vault.session()

    def use() -> None:
        client = vault.hvac
        answer = client.secrets.kv.v2.read_secret_version("epoch", mount_point="remit", raise_on_deleted_version=True)
        assert answer["data"]["data"]["value"]
        assert client.is_authenticated()
        assert client.lookup_token()["data"]["entity_id"]
        with pytest.raises(hvac.exceptions.InvalidPath):
            client.secrets.kv.v2.read_secret_version("absent", mount_point="remit", raise_on_deleted_version=True)
        with pytest.raises(Refused):
            client.secrets.kv.v2.read_secret_version(
                "weather-api", mount_point="remit-secrets", raise_on_deleted_version=True
            )
        assert "user" in "".join(client.list("remit/metadata/principals")["data"]["keys"])
        client.adapter.close()

    await asyncio.to_thread(use)


# Records and signatures


async def test_of_many_writers_with_one_version_exactly_one_wins(made: Site) -> None:
    documents = Documents(made.authority, "remit")
    path = f"budget/{uuid.uuid4()}"
    made_it = await asyncio.gather(*(documents.create(path, {"by": number}) for number in range(16)))
    assert sum(made_it) == 1
    won = await asyncio.gather(*(documents.replace(path, {"by": number}, version=1) for number in range(16)))
    assert sum(won) == 1
    record, version = await documents.versioned(path)
    assert version == 2
    assert record == {"by": won.index(True)}


async def test_a_deleted_record_does_not_come_back(made: Site) -> None:
    path = f"delegations/{uuid.uuid4()}"
    alice = Documents(made.person("alice"), "remit")
    assert await alice.create(path, {"jws": "a"})
    assert not await alice.create(path, {"jws": "b"})
    await made.admin.delete(f"remit/data/{path}")
    assert await alice.get(path) is None
    with pytest.raises(Refused):
        await alice.create(path, {"jws": "b"})
    assert not await Documents(made.admin, "remit").create(path, {"jws": "b"})


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-p256"])
async def test_signatures_wanted_together_share_requests(
    made: Site, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"k-{uuid.uuid4()}"
    await made.admin.write(f"transit/keys/{name}", type=kind)
    signer = await TransitSigner.open(made.admin, name)
    sent: list[int] = []
    write = Vault.write

    async def counting(self: Vault, path: str, /, **data: Any) -> Any:
        sent.append(len(data["batch_input"]))
        return await write(self, path, **data)

    monkeypatch.setattr(Vault, "write", counting)
    items = [f"document {number}".encode() for number in range(50)]
    signatures = await asyncio.gather(*(signer.sign(item) for item in items))
    assert sent == [50]
    assert all(signer.key.verifies(signature, item) for signature, item in zip(signatures, items, strict=True))
    assert not signer.key.verifies(signatures[0], items[1])


async def test_a_rotated_key_no_longer_signs_for_its_old_self(made: Site) -> None:
    name = f"k-{uuid.uuid4()}"
    await made.admin.write(f"transit/keys/{name}", type="ed25519")
    signer = await TransitSigner.open(made.admin, name)
    assert await signer.sign(b"a")
    await made.admin.write(f"transit/keys/{name}/rotate")
    assert await code_of(signer.sign(b"a"), Refused) == "transit.rotated"
    assert await (await TransitSigner.open(made.admin, name)).sign(b"a")
    assert await code_of(TransitSigner.open(made.admin, "absent"), Refused) == "transit.key"


async def test_a_shared_read_on_the_server_is_never_older_than_its_caller(made: Site) -> None:
    """Writers and readers at once: nobody reads a value older than the one written before it asked."""
    path = f"remit/data/budget/{uuid.uuid4()}"
    written = 0

    async def read() -> int:
        answer = await made.authority.read(path)
        return 0 if answer is None else int(answer["data"]["data"]["n"])

    shared = Shared(read)

    async def reader() -> None:
        for _ in range(40):
            least = written
            assert await shared() >= least

    async def writer() -> None:
        nonlocal written
        for number in range(1, 60):
            await made.authority.write(path, data={"n": number})
            written = number

    await asyncio.gather(writer(), *(reader() for _ in range(20)))


async def test_tokens_are_in_no_message(made: Site) -> None:
    vault = made.vault(Token("s.very-secret-token"))
    with pytest.raises(Refused) as caught:
        await vault.read("remit/data/epoch")
    assert "very-secret" not in json.dumps(caught.value.facts()) + repr(caught.value) + repr(vault._login)
