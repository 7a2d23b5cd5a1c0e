"""`remit audit verify EXPORT.json`: offline, from files, with stable codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.evidence.making import events, jwks, seal_of, sound


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., list[Path | str]]:
    def write(export: Any = None, keys: Any = None, history: Any = None) -> list[Path | str]:
        for name, held in {"export": export or sound(), "keys": keys or jwks(), "history": history}.items():
            (tmp_path / f"{name}.json").write_text(held if isinstance(held, str) else json.dumps(held))
        more = ["--history", tmp_path / "history.json"] if history else []
        return ["audit", "verify", tmp_path / "export.json", "--keys", tmp_path / "keys.json", *more]

    return write


def test_what_holds(remit: Any, files: Any) -> None:
    ended = remit(*files(history={"events": events(seal_of(sound()))}), "--json")
    assert (ended.status, ended.err) == (0, "")
    assert ended.document() == {
        "valid": True,
        "task": "task-1",
        "findings": [],
        "counted": {
            "writers": 2, "records": 10, "permitted": 3, "chains": 1, "approvals": 1, "statements": 2, "runs": 1,
            "histories": 1,
        },
    }  # fmt: skip


def test_people_are_told_what_does_not_hold(remit: Any, files: Any) -> None:
    ended = remit(*files(sound() | {"approvals": []}))
    assert ended.status == 1
    assert "evidence.approval-missing" in ended.out
    assert "does not hold" in ended.out
    assert remit(*files()).out.startswith("the evidence of task-1 holds\n")


@pytest.mark.parametrize("as_json", [True, False])
def test_what_is_no_export(remit: Any, files: Any, as_json: bool) -> None:
    ended = remit(*files('{"format": "remit-audit-export/9"}'), *(["--json"] if as_json else []))
    assert ended.status == 1
    if as_json:
        assert ended.document()["findings"][0]["code"] == "evidence.format"
    else:
        assert "[evidence.format]" in ended.err


def test_keys_must_be_given(remit: Any, files: Any) -> None:
    ended = remit(*files()[:3])
    assert (ended.status, ended.out) == (2, "")
    assert "[keys.needed]" in ended.err


@pytest.mark.parametrize(
    ("given", "code"),
    [({"keys": {"keys": [1]}}, "keys.invalid"), ({"history": {"x": 1}}, "history.invalid")],
    ids=["keys", "history"],
)
def test_other_files_that_cannot_be_used(remit: Any, files: Any, given: dict[str, Any], code: str) -> None:
    ended = remit(*files(**given))
    assert (ended.status, ended.out) == (2, "")
    assert f"[{code}]" in ended.err


def test_the_verifiers_own_policies(remit: Any, files: Any, tmp_path: Path) -> None:
    assert remit(*files(), "--policies", "policies").status == 0
    ended = remit(*files(), "--policies", tmp_path)
    assert ended.status == 2
    assert "[policy.folder]" in ended.err


def test_a_log_that_is_not_there(remit: Any, tmp_path: Path) -> None:
    assert "[log.needed]" in remit("audit", "reconcile").err
    ended = remit("audit", "reconcile", "--openbao-log", tmp_path / "none.log")
    assert ended.status == 2
    assert "[log.file]" in ended.err
