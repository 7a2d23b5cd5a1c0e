"""Certificates of the embedded OpenBao, judged by OpenSSL."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from pathlib import Path

import pytest

from remit.embedded import tls
from remit.embedded.state import StateFolder

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    state = StateFolder.open(tmp_path / "s")
    tls.ensure(state, now=NOW)
    return state


def handshake(state: StateFolder, name: str) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(state.path / tls.CERTIFICATE, state.path / tls.KEY)
    client = ssl.create_default_context(cafile=str(state.path / tls.CA))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    here, there = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(there, server_side=True).close()
        except ssl.SSLError:
            there.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(here, server_hostname=name) as secured:
            assert secured.version() == "TLSv1.3"
    finally:
        here.close()
        thread.join()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_strict_client_accepts_it_for_loopback(state: StateFolder, name: str) -> None:
    handshake(state, name)


def test_it_is_good_for_no_other_host(state: StateFolder) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(state, "example.org")


def test_no_key_of_the_authority_is_kept(state: StateFolder) -> None:
    assert sorted(path.name for path in (state.path / "tls").iterdir()) == ["ca.pem", "server.key", "server.pem"]


def test_it_stays_until_it_is_due(state: StateFolder) -> None:
    before = (state.path / tls.CA).read_bytes()
    tls.ensure(state, now=NOW + dt.timedelta(days=300))
    assert (state.path / tls.CA).read_bytes() == before
    tls.ensure(state, now=NOW + dt.timedelta(days=340))
    assert (state.path / tls.CA).read_bytes() != before


@pytest.mark.parametrize("name", [tls.CA, tls.CERTIFICATE, tls.KEY])
def test_parts_that_do_not_fit_are_made_anew(state: StateFolder, tmp_path: Path, name: str) -> None:
    other = StateFolder.open(tmp_path / "other")
    tls.ensure(other, now=NOW)
    state.write(name, (other.path / name).read_bytes())
    tls.ensure(state, now=NOW)
    handshake(state, "127.0.0.1")


@pytest.mark.parametrize("name", [tls.CA, tls.CERTIFICATE, tls.KEY])
def test_parts_that_are_damaged_are_made_anew(state: StateFolder, name: str) -> None:
    state.write(name, b"-----BEGIN")
    tls.ensure(state, now=NOW)
    handshake(state, "127.0.0.1")
