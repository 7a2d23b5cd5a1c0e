"""What a call that is given up on leaves behind, and whose hands are opened."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from remit.assistant import server
from remit.assistant.offers import offers
from remit.errors import Refused, RemitError, Usage
from remit.session import Session, Sessions
from remit.settings import Settings

anyio = pytest.importorskip("anyio")

POLICIES = Path(__file__).parents[3] / "policies"


class TestAlone:
    async def test_cancelled_work_cleans_up_in_full(self) -> None:
        begun, left = asyncio.Event(), []

        async def work() -> dict[str, object]:
            try:
                begun.set()
                await asyncio.sleep(3600)
            finally:
                for step in range(3):  # anyio would cancel each of these again
                    await asyncio.sleep(0.01)
                    left.append(step)
            return {}

        async with anyio.create_task_group() as group:
            group.start_soon(server._alone, work())
            await begun.wait()
            group.cancel_scope.cancel()
        assert left == [0, 1, 2]

    async def test_what_it_returns_and_raises_is_its_own(self) -> None:
        async def returns() -> dict[str, object]:
            return {"a": 1}

        async def raises() -> dict[str, object]:
            raise Refused("no", code="a.b")

        assert await server._alone(returns()) == {"a": 1}
        with pytest.raises(Refused, match="no"):
            await server._alone(raises())


class TestOffer:
    @pytest.mark.parametrize(
        ("name", "code"),
        [
            ("submit_job", "mcp.not-offered"),
            ("Approve", "mcp.not-offered"),
            ("revoke_all", "mcp.not-offered"),
            ("x", "mcp.tool"),
        ],
    )
    def test_what_is_not_offered_has_its_code(self, name: str, code: str) -> None:
        with pytest.raises(RemitError) as refused:
            server._offer(offers(submit=False), name)
        assert refused.value.code == code


class TestAccount:
    async def test_nobody_logged_in_is_nobody(self, tmp_path: Path) -> None:
        account = server.Account(Settings(home=tmp_path, policies=POLICIES), None)
        with pytest.raises(Refused) as refused:
            async with account.hands():
                pass
        assert refused.value.code == "login.needed"

    async def test_a_name_that_is_none_is_refused(self, tmp_path: Path) -> None:
        account = server.Account(Settings(home=tmp_path, policies=POLICIES), "../alice")
        with pytest.raises(Usage) as refused:
            async with account.hands():
                pass
        assert refused.value.code == "login.name"

    async def test_whoever_logs_in_first_stays_the_one(self, tmp_path: Path) -> None:
        account = server.Account(Settings(home=tmp_path, policies=POLICIES), None)
        sessions = Sessions(tmp_path)
        for name in ("alice", "bob"):
            sessions.keep(Session(name, "http://127.0.0.1:1", "token", "accessor", "entity", 0.0))
            with pytest.raises(RemitError) as refused:  # the session is over, and there is no OpenBao
                async with account.hands():
                    pass
            assert refused.value.code == "login.needed"
            assert "alice" in refused.value.message

    async def test_a_later_login_of_somebody_else_does_not_change_who_acts(self, tmp_path: Path) -> None:
        sessions = Sessions(tmp_path)
        sessions.keep(Session("alice", "http://127.0.0.1:1", "token", "accessor", "entity", 0.0))
        account = server.Account(Settings(home=tmp_path, policies=POLICIES), None)
        sessions.keep(Session("bob", "http://127.0.0.1:1", "token", "accessor", "entity", 0.0))
        with pytest.raises(Refused, match="alice"):
            async with account.hands():
                pass
