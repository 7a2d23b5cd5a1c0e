"""Files that are their owner's alone."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from remit import private


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_it_is_its_owners_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        private.replace(tmp_path / "a", "one")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "a").read_text() == "one"


def test_folders_are_made_and_bytes_are_kept(tmp_path: Path) -> None:
    private.replace(tmp_path / "b" / "c" / "d", b"\xff\r\n")
    assert (tmp_path / "b" / "c" / "d").read_bytes() == b"\xff\r\n"
    assert (tmp_path / "b" / "c").stat().st_mode & 0o777 == 0o700


def test_what_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private.replace(tmp_path / "a", "old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        private.replace(tmp_path / "a", "new")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_many_that_write_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    texts = [str(number) * 10_000 for number in range(8)]
    threads = [threading.Thread(target=private.replace, args=(tmp_path / "a", text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() in texts
