"""Settings: where they come from, which source wins, and what a wrong one says."""

from __future__ import annotations

from pathlib import Path

import pytest

from remit.errors import Usage
from remit.settings import Settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("REMIT_HOME", "REMIT_TASK_QUEUE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_environment_wins_over_the_folder_and_that_over_the_state_folder(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = elsewhere / "home"
    home.mkdir()
    (home / "remit.toml").write_text('task_queue = "state"\nopenbao_address = "https://127.0.0.1:1"\n')
    assert Settings.load(home=home).task_queue == "state"
    (elsewhere / "remit.toml").write_text('task_queue = "folder"\n')
    assert Settings.load(home=home).task_queue == "folder"
    monkeypatch.setenv("REMIT_TASK_QUEUE", "environment")
    found = Settings.load(home=home)
    assert (found.task_queue, found.openbao_address) == ("environment", "https://127.0.0.1:1")
    assert found.audit_folder == home / "audit"


def test_the_state_folder_may_be_named_by_the_environment(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "other").mkdir()
    (elsewhere / "other" / "remit.toml").write_text('task_queue = "other"\n')
    monkeypatch.setenv("REMIT_HOME", str(elsewhere / "other"))
    assert Settings.load().task_queue == "other"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("task_que = 'x'", "task_que"),
        ("watch_seconds = 0", "watch_seconds"),
        ("openbao_profile = 'consul'", "openbao_profile"),
        ("task_queue = [", "TOML"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(elsewhere: Path, text: str, named: str) -> None:
    (elsewhere / "remit.toml").write_text(text)
    with pytest.raises(Usage) as caught:
        Settings.load()
    assert caught.value.code == "settings.invalid"
    assert "\n" not in caught.value.message
    assert named in caught.value.message or named == "TOML"
