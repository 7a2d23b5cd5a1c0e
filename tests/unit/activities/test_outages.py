"""An OpenBao that does not answer is one line for each try of a service's own activity."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.testing import ActivityEnvironment

from activities.outages import held
from activities.revocation import Revocations
from remit.audit import AuditLog
from remit.cascade import Begun, Outcome
from remit.errors import Refused
from remit.registry import Registry
from remit.standing import Standing
from remit.vault import Token, Vault

STATEMENT = "8601d85f-f09c-4195-82eb-78ab17d2f930"


@dataclass(frozen=True)
class Silent:
    """The parts of a worker whose OpenBao is down."""

    registry: Registry
    vault: Vault
    audit: AuditLog
    authority: Any
    policy: Any
    catalogue: Any


@pytest.fixture
async def revocations(tmp_path: Path) -> AsyncIterator[Revocations]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can answer here
        async with Vault(f"http://127.0.0.1:{taken.getsockname()[1]}", None, Token("none")) as vault:
            registry = Registry(vault)
            standing = Standing(registry, audience="remit", stops=lambda *_: False, clock=time.time)
            parts: Any = Silent(
                registry,
                vault,
                AuditLog(tmp_path, clock=time.time),
                SimpleNamespace(standing=standing, audience="remit"),
                SimpleNamespace(groups={}),
                SimpleNamespace(trust_domain="remit.test"),
            )
            yield Revocations(parts)


@pytest.mark.parametrize("name", ["begin", "round", "complete"])
async def test_an_outage_is_one_line(revocations: Revocations, caplog: pytest.LogCaptureFixture, name: str) -> None:
    begun = Begun(Outcome.STATED)
    arguments: dict[str, tuple[Any, ...]] = {
        "begin": (STATEMENT,),
        "round": (STATEMENT, begun, False),
        "complete": (STATEMENT, {"outcome": "complete"}),
    }
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, attempt=3)
    with caplog.at_level(logging.INFO), pytest.raises(ApplicationError) as raised:
        await environment.run(getattr(revocations, name), *arguments[name])
    error = raised.value
    assert (error.type, error.category) == ("vault.unreachable", ApplicationErrorCategory.BENIGN)
    assert (error.non_retryable, error.next_retry_delay) == (False, timedelta(seconds=4))
    (line,) = [one for one in caplog.records if one.name == "temporalio.activity"]
    assert line.exc_info is None
    assert "vault.unreachable" in line.getMessage()


async def test_what_is_no_outage_stays_as_loud_as_it_was() -> None:
    def broken() -> None:
        with held():
            raise Refused("no", code="vault.refused")

    with pytest.raises(Refused):
        ActivityEnvironment().run(broken)
