"""The audit log's lines: nothing in a value can forge one, and the chain covers what was written."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from remit.audit import CLOSED, GENESIS, AuditLog, leaf, plain, read, record_hash
from remit.evidence.folder import check


def lines(folder: Path) -> list[str]:
    """Return what a closed log holds, without its last record."""
    (path,) = folder.glob("*.jsonl")
    *found, last, end = path.read_text(encoding="utf-8").split("\n")
    assert json.loads(last)["event"] == CLOSED
    assert end == ""
    return found


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "naïve – ok",
        'a "quoted" \\ path',
        "tab\there",
        "line\r\nbreak",
        "\x00\x7f\x9f",
        "a\u202eb\u2066c",
        "\ufeff\u200b",
    ],
)
def test_a_value_is_spelled_out_wherever_it_stands(tmp_path: Path, value: str) -> None:
    log = AuditLog(tmp_path, clock=lambda: 5.0)
    record = {"event": "attempt", "task": value, "deep": [{value: (value, 1)}]}
    log.append(record)
    log.close()
    (line,) = lines(tmp_path)
    written = json.loads(line)
    assert {key: written[key] for key in record} == plain(record)
    assert all(character.isprintable() for character in line)


def test_each_line_names_the_one_before_it(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, clock=lambda: 5.0)
    hashes = [log.append({"event": "attempt", "n": number, "text": "\n" * (number % 2)}) for number in range(4)]
    log.close()
    written = lines(tmp_path)
    assert [json.loads(line)["prev"] for line in written] == [GENESIS, *hashes[:-1]]
    assert [record_hash(line) for line in written] == hashes
    assert [one["seq"] for one in read(tmp_path)] == [1, 2, 3, 4, 5]


def test_the_records_of_a_task_are_chained_once_more(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, clock=lambda: 5.0)
    places = [("default", "one"), ("other", "one"), ("default", "two\n"), ("default", "one"), ("default", "two\n")]
    hashes = [log.append({"event": "attempt", "namespace": space, "task": task}) for space, task in places]
    log.append({"event": "reaped"})
    (mark,) = log.marks()
    log.close()
    written = [json.loads(line) for line in lines(tmp_path)]
    assert [(one.get("task_seq"), one.get("task_prev")) for one in written] == [
        (1, GENESIS), (1, GENESIS), (1, GENESIS), (2, hashes[0]), (2, hashes[2]), (None, None),
    ]  # fmt: skip
    ends = [("default", "one", 2, hashes[3]), ("other", "one", 1, hashes[1]), ("default", "two\\u000a", 2, hashes[4])]
    assert mark.leaves == tuple(sorted(leaf(*place, number=number, last=last) for *place, number, last in ends))
    assert (mark.seq, mark.closed) == (6, False)


def test_a_mark_is_told_until_it_was_sealed_and_then_only_what_is_new(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, clock=lambda: 5.0)
    assert log.marks() == []
    for task in ("one", "two"):
        log.append({"event": "attempt", "task": task})
    (first,) = log.marks()
    assert log.marks() == [first]
    grown = log.append({"event": "attempt", "task": "two"})
    log.sealed(first)
    (second,) = log.marks()
    assert second.leaves == (leaf("", "two", number=2, last=grown),)
    log.sealed(second)
    assert log.marks() == []
    log.close()
    log.close()
    (last,) = log.marks()
    assert (last.seq, last.closed, last.leaves) == (4, True, ())
    log.sealed(last)
    assert log.marks() == []


@pytest.mark.parametrize(("bound", "tasks"), [("MOST_RECORDS", 1), ("MOST_LEAVES", 4)])
def test_a_writers_life_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, tasks: int) -> None:
    monkeypatch.setattr(f"remit.audit.{bound}", 4)
    clock = iter(range(100))
    log = AuditLog(tmp_path, clock=lambda: float(next(clock)))
    born = log.writer
    for number in range(7):
        log.append({"event": "attempt", "task": f"t{number % tasks}"})
    assert log.writer != born
    before, *_, after = log.marks()
    assert (before.writer, before.closed, after.writer, after.closed) == (born, True, log.writer, False)
    log.sealed(replace(before, closed=False, seq=before.seq - 1))
    assert before.seq in [one.seq for one in log.marks()], "a mark from before the end does not cover the end"
    for mark in log.marks():
        log.sealed(mark)
    assert log.marks() == []
    log.close()
    events = [[json.loads(line)["event"] for line in path.read_text().splitlines()] for path in tmp_path.iterdir()]
    assert all(found[-1] == CLOSED and CLOSED not in found[:-1] for found in events)
    assert sum(len(found) - 1 for found in events) == 7


def test_a_disk_that_is_full_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path, clock=lambda: 5.0)
    log.append({"event": "attempt", "task": "one"})
    write, calls = os.write, iter([True, False])

    def full(file: int, data: bytes) -> int:
        if next(calls, False):
            return write(file, bytes(data[:10]))
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.write", full)
        with pytest.raises(OSError, match="No space"):
            log.append({"event": "attempt", "task": "one"})
    log.append({"event": "attempt", "task": "one"})
    log.close()
    assert check({path.name: path.read_bytes() for path in tmp_path.iterdir()}).valid
    assert [json.loads(line)["task_seq"] for line in lines(tmp_path)] == [1, 2]
