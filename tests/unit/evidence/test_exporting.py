"""What is taken out of the audit folder for an export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from remit.evidence import exporting
from tests.unit.evidence.making import NAMESPACE, TASK, first_script, written


def taken(folder: Path) -> dict[str, list[str]]:
    return exporting.read(folder, TASK, NAMESPACE)


def test_the_tasks_lines_verbatim_by_writer(tmp_path: Path) -> None:
    first, second = written(tmp_path, first_script()), written(tmp_path, first_script()[:2])
    assert taken(tmp_path) == {one.writer: list(one.records) for one in (first, second)}


def test_no_other_namespaces_task_and_none_that_only_names_it(tmp_path: Path) -> None:
    _, record = first_script()[0]
    others: list[dict[str, Any]] = [record | {"namespace": "other"}, record | {"task": f"{TASK}-2", "child": TASK}]
    written(tmp_path, [(at, one) for at, one in enumerate([record, *others])])
    ((line,),) = taken(tmp_path).values()
    assert json.loads(line)["task_seq"] == 1


def test_a_line_cut_off_by_a_crash_is_left_to_the_folders_verification(tmp_path: Path) -> None:
    first = written(tmp_path, first_script())
    (path,) = tmp_path.glob("*.jsonl")
    with path.open("a", encoding="utf-8") as file:
        file.write(first.records[-1][:-9])
    assert taken(tmp_path) == {first.writer: list(first.records)}


def test_what_is_tampered_with_is_exported_as_it_is(tmp_path: Path) -> None:
    written(tmp_path, first_script())
    (path,) = tmp_path.glob("*.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[0] = json.dumps(json.loads(lines[0]) | {"chain": 5, "seq": None, "approvals": "x"})
    path.write_text("\n".join([*lines, "[]", ""]), encoding="utf-8")
    ((first, *_),) = taken(tmp_path).values()
    assert first == lines[0]
