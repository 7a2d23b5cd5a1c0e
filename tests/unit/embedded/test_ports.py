"""Port blocks, tried on real sockets."""

from __future__ import annotations

import socket

import pytest

from remit.embedded.ports import SPAN, Ports, choose
from remit.errors import RemitError, Usage


def test_a_port_in_use_is_named() -> None:
    ports = choose(0)
    ports.check()
    with socket.create_server(("127.0.0.1", ports.openbao)):
        with pytest.raises(RemitError) as caught:
            ports.check()
        assert caught.value.code == "port.in-use"
        assert str(ports.openbao) in caught.value.message
        assert "OpenBao" in caught.value.message
        assert "--port-base" in caught.value.next_action
    ports.check()


def test_a_listener_on_every_address_counts() -> None:
    ports = choose(0)
    with socket.create_server(("0.0.0.0", ports.postgres)), pytest.raises(RemitError):
        ports.check()


def test_the_names_fit_the_ports() -> None:
    ports = Ports(28200)
    assert dict(ports.named()) == {
        "Temporal": ports.temporal,
        "the Temporal UI": ports.temporal_ui,
        "Temporal's HTTP API": ports.temporal_http,
        "Temporal's metrics": ports.temporal_metrics,
        "OpenBao": ports.openbao,
        "OpenBao's cluster": ports.openbao_cluster,
        "PostgreSQL": ports.postgres,
    }


@pytest.mark.parametrize("base", [-1, 1, 1023, 65536 - SPAN + 1, 70000])
def test_a_base_out_of_range_is_a_usage_error(base: int) -> None:
    with pytest.raises(Usage) as caught:
        choose(base)
    assert caught.value.code == "port.base"


@pytest.mark.parametrize("base", [1024, 65536 - SPAN])
def test_the_ends_of_the_range_are_in(base: int) -> None:
    assert all(1024 <= port <= 65535 for _, port in choose(base).named())
