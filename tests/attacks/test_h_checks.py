"""H 48: each single check has an attack that it stops, and without the check that attack goes through."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import pytest

from remit.errors import RemitError
from tests.attacks.checks import attempts, decisions, documents, fence, stops
from tests.attacks.checks.removing import checks, is_file, without
from tests.attacks.checks.row import Row, Rows
from tests.unit.world import world

ROWS: Rows = {name: row for part in (documents, attempts, stops, decisions, fence) for name, row in part.ROWS.items()}
PASSES, LOST = "passes", "lost"

MODULES = (
    *("approvals", "approving", "authority", "chain", "chains", "claims", "credentials.ending", "credentials.mint"),
    *("deciding", "decisions", "delegating", "delegation", "destroying", "doing", "jose", "ledger", "policy.asking"),
    *("policy.delegable", "policy.engine", "policy.entities", "policy.rules", "presentation", "principals", "proving"),
    *("registry", "revoking", "running", "standing", "statements", "step", "strictjson", "vault.paths", "vault.steps"),
)
"""Modules that decide whether something may be done."""
ELSEWHERE = {
    "carries what was decided, or keeps it to itself": (
        *("audit", "confined", "credentials.credential", "credentials.scrub", "telemetry", "together", "verdict"),
    ),
    "is evidence, read afterwards": ("heads", "sealing"),
    "is read before anything runs, and stops the start": (
        *("catalogue", "duration", "mapping", "policy.lint", "policy.schema", "policy.source"),
    ),
    "says what a server answered: a wrong reading is an outage": (
        *("vault.answers", "vault.client", "vault.documents", "vault.logins", "vault.oidc", "vault.transit"),
        "vault.wire",
    ),
}
"""Modules with a check of another kind, and what it is."""
NO_CHECK = {
    "claims.Claims.__contains__: bool": "tells whether an optional claim is there",
    "destroying.stands_under: bool": "yes destroys more, never less",
    "ledger.Ledger._give_back: _busy": "gives up; what is not given back counts as spent",
    "ledger.Ledger._replace: bool": "tells whether a write took place; without it nothing is ever set aside",
    "ledger.Ledger._take: _busy": "gives up; nothing is set aside",
    "policy.delegable._always: bool": "yes refuses more",
    "policy.delegable._held: bool": "yes lets a delegation name what Cedar then denies at the step",
    "policy.rules._possible: bool": "yes asks more policies than can match, with the same answer",
    "policy.rules.asks_where_chain_stands: bool": "is asked before anything runs",
    "policy.rules.can_match: bool": "yes asks more policies than can match, with the same answer",
    "policy.rules.reads_approvals: bool": "yes asks once more than needed, with the same answer",
    "registry.Registry._entered: busy": "gives up; nobody is let in",
    "registry.Registry.put_principal: bool": "tells the operator whether anything changed",
}


async def outcome(row: Row, folder: Path) -> str:
    """Return what becomes of an attack on a world of its own."""
    async with nullcontext() if row.alone else world(folder) as made:
        try:
            done = row.attack(made)
            if inspect.isawaitable(done):
                await done
        except RemitError as error:
            return error.code
        except Exception:
            return LOST
        return PASSES


@contextmanager
def gone(names: Iterable[str]) -> Iterator[None]:
    """Take checks away, each in its way."""
    plain = [name for name in names if name not in ROWS or ROWS[name].removed is None]
    with ExitStack() as taken, without(*plain):
        for name in names:
            if name in ROWS and (removed := ROWS[name].removed) is not None:
                taken.enter_context(removed())
        yield


@pytest.mark.parametrize("name", sorted(ROWS))
async def test_48_a_check_is_what_stops_its_attack(name: str, tmp_path: Path) -> None:
    """In place it refuses; with it and whoever else stops the same gone, the attack goes through; each other holds."""
    row = ROWS[name]
    assert await outcome(row, tmp_path / "in place") == row.code
    for other in row.also:
        with gone({name, *row.also} - {other}):
            assert await outcome(row, tmp_path / other.replace(":", "")) not in (PASSES, LOST), other
    with gone({name, *row.also}):
        assert await outcome(row, tmp_path / "gone") == (LOST if row.lost else PASSES)


def test_48_no_check_is_missing() -> None:
    found = {name for module in MODULES for name in checks(module)}
    assert found - set(ROWS) - set(NO_CHECK) == set(), "a check without an attack"
    assert set(NO_CHECK) <= found
    assert {name for name, row in ROWS.items() if not row.removed} <= found


def test_48_no_module_that_decides_is_missing() -> None:
    begin = "import sys, remit.authority, remit.ledger, remit.registry, remit.revoking"
    script = f"{begin}; print(*(one.partition('.')[2] for one in sys.modules if one.startswith('remit.')))"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    found = {module for module in told.split() if is_file(module) and checks(module)}
    assert found - set(MODULES) - {module for modules in ELSEWHERE.values() for module in modules} == set()
    assert set(MODULES) <= set(told.split())
