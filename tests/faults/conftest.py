"""Servers that may be killed: a stack of their own, so that the other tests' lives on."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import pytest

from remit.bootstrap import logins
from remit.embedded import Stack
from remit.embedded.provision import provision
from tests.conftest import POLICIES
from tests.faults.ground import Ground
from tests.faults.points import Points

LOGIN_SECONDS = 8
"""How long a step's login outlives its worker here: real expiry, only sooner than the usual minute."""


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """OpenBao, PostgreSQL and Temporal, and no worker yet."""
    folder = tmp_path_factory.mktemp("faults")
    stack = Stack(folder / "home", port_base=0, bootstrap=lambda started: provision(started, policies=POLICIES))
    with mock.patch.object(logins, "STEP_SECONDS", LOGIN_SECONDS):
        stack.start()
    points = Points(folder / "points")
    points.folder.mkdir()
    made = Ground(stack, points)
    yield made
    made.close()
    stack.stop()
