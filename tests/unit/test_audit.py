"""The audit log's lines: nothing in a value can forge one, and the chain covers what was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from remit.audit import CLOSED, GENESIS, AuditLog, plain, read, record_hash


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
