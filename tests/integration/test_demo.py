"""The tour itself, and its witness: what finds no secret must be able to find one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from remit.assembly import Parts
from remit.demo.witness import Witness
from remit.embedded import Stack
from remit.settings import Settings

from .acting import authorize, delegate


def test_everything_the_tour_shows_holds(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "remit.cli", "demo", "--home", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✗" not in done.stdout
    claims = re.search(r"All (\d+) claims held", done.stdout)
    assert claims is not None
    assert int(claims[1]) == done.stdout.count("✓") >= 20


async def test_the_witness_finds_a_minted_password_and_a_secret_of_the_state_folder(
    stack: Stack, settings: Settings, parts: Parts
) -> None:
    task = await delegate(settings)
    grant = await authorize(parts, task.attempt(credential="flights-ro"))
    password, dsn = grant.credential["password"], grant.credential["dsn"]
    await parts.authority.release(grant, outcome="ok")
    bob = (stack.home / "passwords" / "bob").read_text()
    witness = Witness(stack)
    assert await witness.secrets_in({"clean": "nothing to see, Select 1, task-0123456789ab"}) == []
    for text in (f"…{dsn}…", f'{{"password": "{password}"}}', f"word {bob} word"):
        assert await witness.secrets_in({"leaky": text}), text
