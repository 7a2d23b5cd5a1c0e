"""The list of attacks is true: every case has tests, and every test it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (\d+) \| .* \| (.*) \|$", re.MULTILINE)
FILE = re.compile(r"`(tests/[\w./]+\.py)`(?:: ((?:`\w+`(?:, )?)+))?")


def functions(path: Path) -> set[str]:
    return {
        found.name
        for found in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def listed() -> dict[int, dict[Path, set[str]]]:
    page = (ROOT / "docs/attacks.md").read_text(encoding="utf-8")
    return {
        int(number): {ROOT / file: set(re.findall(r"`(\w+)`", names)) for file, names in FILE.findall(tests)}
        for number, tests in ROW.findall(page)
    }


def test_every_case_is_tried() -> None:
    assert sorted(listed()) == list(range(1, 54))
    assert all(listed().values())


def test_the_tests_it_names_are_there() -> None:
    for tests in listed().values():
        for path, names in tests.items():
            assert names <= functions(path), (path, names - functions(path))


def test_every_attack_is_listed_under_its_number() -> None:
    cases = listed()
    for path in sorted((ROOT / "tests/attacks").rglob("test_*.py")):
        for name in functions(path):
            if number := re.match(r"test_(\d\d)_", name):
                assert name in cases[int(number[1])].get(path, set()), f"{path.name}: {name} is not in docs/attacks.md"
