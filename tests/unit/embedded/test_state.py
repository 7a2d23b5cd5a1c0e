"""The state folder's rules, on real folders."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from remit.embedded.state import StateFolder
from remit.errors import RemitError


@pytest.fixture(autouse=True)
def loose_umask() -> Iterator[None]:
    before = os.umask(0o000)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_is_closed_to_others(tmp_path: Path) -> None:
    state = StateFolder.open(tmp_path / "a" / "b")
    state.write("keys/one", b"secret")
    state.write_json("two.json", {"a": 1})
    with state.lock():
        assert mode(state.path / "lock") == 0o600
    assert {mode(path) for path in (state.path, state.path / "keys")} == {0o700}
    assert {mode(path) for path in state.path.rglob("*") if path.is_file()} == {0o600}


def test_a_known_folder_keeps_its_id_and_is_closed_again(tmp_path: Path) -> None:
    first = StateFolder.open(tmp_path / "s")
    first.path.chmod(0o755)
    second = StateFolder.open(tmp_path / "s")
    assert second == first
    assert mode(second.path) == 0o700


@pytest.mark.parametrize("content", ['{"version": 2, "id": "x"}', '{"version": "1", "id": "x"}', "{", "[]", "{}"])
def test_another_version_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "version.json").write_text(content)
    before = mode(tmp_path)
    with pytest.raises(RemitError) as caught:
        StateFolder.open(tmp_path)
    assert caught.value.code == "state.version"
    assert "--home" in caught.value.next_action
    assert [path.name for path in tmp_path.iterdir()] == ["version.json"]
    assert mode(tmp_path) == before


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RemitError) as caught:
        StateFolder.open(tmp_path)
    assert caught.value.code == "state.foreign"
    assert mode(tmp_path) == 0o777
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_other_commands_leave_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "sessions").mkdir()
    (tmp_path / "remit.toml").write_text("")
    (tmp_path / "tools.json").write_text("[]")
    (tmp_path / ".version.json.x1y2").write_text("{")  # a crash while it was made
    state = StateFolder.open(tmp_path)
    assert json.loads((tmp_path / "version.json").read_text()) == {"version": 1, "id": state.id}


def test_a_file_in_its_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(RemitError) as caught:
        StateFolder.open(tmp_path / "f")
    assert caught.value.code == "state.folder"
    assert "\n" not in caught.value.message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_another_users_folder_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(RemitError) as caught:
        StateFolder.open(tmp_path)
    assert caught.value.code == "state.owner"


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    state = StateFolder.open(tmp_path / "s")
    with state.lock(), pytest.raises(RemitError) as caught, StateFolder.open(tmp_path / "s").lock():
        pass
    assert caught.value.code == "state.busy"
    with state.lock():
        pass


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    state = StateFolder.open(tmp_path / "s")
    assert state.secret("keys/k", lambda: b"one") == b"one"
    assert state.secret("keys/k", lambda: b"two") == b"one"


def test_a_link_in_the_place_of_a_new_file_is_not_followed(tmp_path: Path) -> None:
    state = StateFolder.open(tmp_path / "s")
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (state.path / "x").symlink_to(victim)
    state.write("x", "new")
    assert victim.read_text() == "kept"
    assert (state.path / "x").read_text() == "new"


def test_completion_does_not_survive_a_wipe(tmp_path: Path) -> None:
    state = StateFolder.open(tmp_path / "s")
    assert not state.completed("server")
    state.folder("server")
    state.complete("server")
    assert state.completed("server")
    state.wipe("server")
    assert not state.completed("server")
    assert list((state.path / "server").iterdir()) == []


@pytest.mark.parametrize("content", [None, "", "{", "\x00"])
def test_an_unreadable_document_is_none(tmp_path: Path, content: str | None) -> None:
    state = StateFolder.open(tmp_path / "s")
    if content is not None:
        state.write("d.json", content)
    assert state.read_json("d.json") is None
