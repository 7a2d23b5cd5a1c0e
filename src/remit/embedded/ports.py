"""The ports of one stack: a block of ten from the base, every one on 127.0.0.1.

    base      Temporal, gRPC          base + 4  OpenBao
    base + 1  Temporal, UI            base + 5  OpenBao, cluster
    base + 2  Temporal, HTTP API      base + 6  PostgreSQL
    base + 3  Temporal, metrics       base + 7 … + 9  kept free for the worker

- The usual base is 28200. Base 0 means: a block that is free now.
- All are tried before any server starts, so a port in use is one clear line and nothing is half up.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from remit.errors import RemitError, Usage

HOST = "127.0.0.1"
DEFAULT_BASE = 28200
SPAN = 10
# Below the range systems give to outgoing connections (Linux: 32768), which would take ports at random.
_FREE_BASES = range(20000, 32700, SPAN)
_NAMES = (
    "Temporal",
    "the Temporal UI",
    "Temporal's HTTP API",
    "Temporal's metrics",
    "OpenBao",
    "OpenBao's cluster",
    "PostgreSQL",
)


@dataclass(frozen=True, slots=True)
class Ports:
    """The block that starts at ``base``.

    Raises:
        Usage: ``port.base`` when the block does not fit between 1024 and 65535.
    """

    base: int = DEFAULT_BASE

    def __post_init__(self) -> None:
        if not 1024 <= self.base <= 65536 - SPAN:
            raise Usage(
                f"no ports from {self.base} on",
                code="port.base",
                next_action=f"Give --port-base a number from 1024 to {65536 - SPAN}, or 0 for any free block.",
            )

    @property
    def temporal(self) -> int:
        """Temporal's gRPC front end."""
        return self.base

    @property
    def temporal_ui(self) -> int:
        """Temporal's UI."""
        return self.base + 1

    @property
    def temporal_http(self) -> int:
        """Temporal's HTTP API."""
        return self.base + 2

    @property
    def temporal_metrics(self) -> int:
        """Temporal's metrics page."""
        return self.base + 3

    @property
    def openbao(self) -> int:
        """OpenBao's API, TLS."""
        return self.base + 4

    @property
    def openbao_cluster(self) -> int:
        """OpenBao's raft, used by nobody else on one node but opened all the same."""
        return self.base + 5

    @property
    def postgres(self) -> int:
        """PostgreSQL."""
        return self.base + 6

    def named(self) -> Iterator[tuple[str, int]]:
        """Yield ``(what for, port)`` of each port a server listens on."""
        for offset, name in enumerate(_NAMES):
            yield name, self.base + offset

    def check(self) -> None:
        """See that every port can be had now.

        Raises:
            RemitError: ``port.in-use`` naming the first one that cannot.
        """
        for name, port in self.named():
            if not _is_free(port):
                raise RemitError(
                    f"port {port}, wanted for {name}, is in use",
                    code="port.in-use",
                    next_action="Choose other ports with --port-base N, or --port-base 0 for any free ones.",
                )


def choose(base: int) -> Ports:
    """Return the block at ``base``, or for 0 a block that is free now.

    Raises:
        RemitError: ``port.in-use`` when no block is free.
        Usage: ``port.base`` for a base out of range.
    """
    if base:
        return Ports(base)
    for candidate in random.sample(_FREE_BASES, len(_FREE_BASES)):
        if all(_is_free(port) for port in range(candidate, candidate + SPAN)):
            return Ports(candidate)
    raise RemitError("no ten free ports in a row", code="port.in-use", next_action="Stop what uses them.")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Connections of the last run may linger in TIME_WAIT: they do not hinder a server, so not us.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
