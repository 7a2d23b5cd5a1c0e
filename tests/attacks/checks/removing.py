"""Every check of the modules that decide, found in their sources, and taken away one at a time.

- A check is a `raise` that is not inside an `except` (there something else has failed already and only gets its name),
  or a function that answers with a bool. Found, not listed: a new one appears here by itself.
- Taking one away puts `pass` in the place of the `raise`, or `return True` in the place of the answer, in the running
  process and for whoever holds the function. The source stays as it is.
- A name is ``module.function: label``; the label is the code, or what is raised, and counts up where it repeats.
"""

from __future__ import annotations
import __future__

import ast
import copy
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import remit
from remit import claims, jose

SOURCES = Path(remit.__file__).parent
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def checks(module: str) -> dict[str, tuple[str, int]]:
    """Return the checks of a module: name → its function, and the line of the `raise` (0: its answer)."""
    found: dict[str, tuple[str, int]] = {}

    def name(function: str, label: str) -> str:
        plain = f"{module}.{function}: {label}"
        count = sum(1 for known in found if known.partition("#")[0] == plain)
        return plain if not count else f"{plain}#{count + 1}"

    def look(node: ast.AST, owner: str, function: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ExceptHandler):
                continue
            if isinstance(child, ast.ClassDef):
                look(child, f"{owner}{child.name}.", "")
            elif isinstance(child, Function) and not function:
                if isinstance(child.returns, ast.Name) and child.returns.id == "bool":
                    found[name(owner + child.name, "bool")] = (owner + child.name, 0)
                look(child, owner, owner + child.name)
            else:
                if isinstance(child, ast.Raise):
                    found[name(function, _label(child.exc))] = (function, child.lineno)
                look(child, owner, function)

    look(_tree(module), "", "")
    return found


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Take checks away until the block is left."""
    gone: dict[tuple[str, str], set[int]] = {}
    for name in names:
        module = next(one for one in sorted(_modules(name), key=len, reverse=True) if name in checks(one))
        function, line = checks(module)[name]
        gone.setdefault((module, function), set()).add(line)
    kept: list[tuple[Any, CodeType]] = []
    try:
        for (module, function), lines in gone.items():
            made = _function(module, function)
            kept.append((made, made.__code__))
            made.__code__ = _changed(module, function, lines)
        _forget()
        yield
    finally:
        for made, code in kept:
            made.__code__ = code
        _forget()


def _forget() -> None:
    for cached in (claims._parsed, jose._is_ones_own):  # they remember what was refused, and what was let in
        cached.cache_clear()


def _modules(name: str) -> Iterator[str]:
    parts = name.partition(":")[0].split(".")
    for length in range(1, len(parts)):
        if is_file(module := ".".join(parts[:length])):
            yield module


def is_file(module: str) -> bool:
    """Tell whether a module is a file of its own, and no package."""
    return _path(module).is_file()


def _path(module: str) -> Path:
    return SOURCES / f"{module.replace('.', '/')}.py"


def _source(module: str) -> str:
    return _path(module).read_text(encoding="utf-8")


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_source(module))


def _label(raised: ast.expr | None) -> str:
    if not isinstance(raised, ast.Call):
        return ast.unparse(raised) if raised else "again"
    given = [*(one.value for one in raised.keywords if one.arg in {"code", "status"}), *raised.args]
    for one in given:
        parts = [part.value for part in ast.walk(one) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        text = "".join(parts).strip("-").rpartition(".")[2]
        if text and " " not in text:
            return text
    return ast.unparse(raised.func).rpartition(".")[2]


class _Without(ast.NodeTransformer):
    def __init__(self, lines: set[int]) -> None:
        self.lines = lines

    def visit_Raise(self, node: ast.Raise) -> ast.stmt:
        return ast.copy_location(ast.Pass(), node) if node.lineno in self.lines else node


def _changed(module: str, function: str, lines: set[int]) -> CodeType:
    """Return the code of a function without these checks; it alone is compiled, in a class of its own's name."""
    *owner, name = function.split(".")
    scope: ast.AST = _tree(module)
    for part in owner:
        scope = next(one for one in ast.iter_child_nodes(scope) if isinstance(one, ast.ClassDef) and one.name == part)
    found = next(one for one in ast.iter_child_nodes(scope) if isinstance(one, Function) and one.name == name)
    made = _Without(lines).visit(copy.deepcopy(found))
    made.decorator_list = []
    if 0 in lines:
        made.body = [ast.copy_location(ast.Return(ast.Constant(True)), made.body[0])]
    body: ast.stmt = made
    for part in reversed(owner):
        body = ast.ClassDef(part, bases=[], keywords=[], body=[body], decorator_list=[])
    tree = ast.fix_missing_locations(ast.Module([body], type_ignores=[]))
    todo: list[CodeType] = [compile(tree, f"<{module}>", "exec", flags=__future__.annotations.compiler_flag)]
    while todo:
        code = todo.pop()
        if code.co_qualname == function:
            return code
        todo += [one for one in code.co_consts if isinstance(one, CodeType)]
    raise AssertionError(f"{module} has no {function}")


def _function(module: str, function: str) -> Any:
    found: Any = importlib.import_module(f"remit.{module}")
    for part in function.split("."):
        found = vars(found)[part]
    found = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
    return getattr(found, "__wrapped__", found)
