"""Mutants of one source file: mutmut's, and four kinds of our own that take single checks away.

- Ours: a condition that is never true, an operand of `and`/`or` left out, a call whose answer nobody reads left out,
  and an element of a written set, tuple or list left out.
- Left alone is what only people read: strings with a blank, formatted strings, and what is passed as `next_action`,
  `message` or `reason` or to `Claims.invalid`; also `cast`, which does nothing, and `strict=` of `zip`, an assertion.
- All mutants of a file are in one source, beside the original; which one runs is set by name.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import libcst as cst
from mutmut.mutation import file_mutation
from mutmut.mutation.mutators import mutation_operators

_FOR_PEOPLE = {"next_action", "message", "reason"}
_LEFT_ALONE = _FOR_PEOPLE | {"strict"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one function.

    Args:
        name: Within the mutated source. function: Of the original one. line: Where, in the original.
        diff: The changed lines.
    """

    name: str
    function: str
    line: int
    diff: str


def mutated(source: str) -> tuple[str, list[Mutant]]:
    """Return a source with all its mutants beside the functions they are of, and the mutants."""
    operators = [*mutation_operators, *_OURS]
    file_mutation.mutation_operators = operators  # type: ignore[attr-defined]
    module, mutations, classes, functions = file_mutation.create_mutations("source.py", source)
    text = _for_people(module)
    kept = [one for one in mutations if id(one.original_node) not in text and not _changes_text(one, text)]
    made = file_mutation.combine_mutations_to_source(module, kept, classes, functions)
    return made.code, list(_described(source, made.code, made.mutant_names))


def _never(node: cst.If) -> Iterator[cst.If]:
    test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    yield node.with_changes(test=cst.BooleanOperation(left=test, operator=cst.And(), right=cst.Name("False")))


def _operand(node: cst.BooleanOperation) -> Iterator[cst.BaseExpression]:
    for kept in (node.left, node.right):
        yield kept.with_changes(lpar=[*node.lpar, *kept.lpar], rpar=[*kept.rpar, *node.rpar])


def _call(node: cst.Expr) -> Iterator[cst.Pass]:
    value = node.value.expression if isinstance(node.value, cst.Await) else node.value
    if isinstance(value, cst.Call):
        yield cst.Pass()


def _element(node: cst.Set | cst.Tuple | cst.List) -> Iterator[cst.BaseExpression]:
    if len(node.elements) > 2:
        for at in range(len(node.elements)):
            yield node.with_changes(elements=[*node.elements[:at], *node.elements[at + 1 :]])


_OURS = [
    (cst.If, _never),
    (cst.BooleanOperation, _operand),
    (cst.Expr, _call),
    (cst.Set, _element),
    (cst.Tuple, _element),
    (cst.List, _element),
]


def _for_people(module: cst.Module) -> set[int]:
    """Return the nodes whose change only a reader would notice."""
    found: set[int] = set()

    def inside(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        yield node
        for child in node.children:
            yield from inside(child)

    for node in inside(module):
        text = (
            isinstance(node, cst.FormattedString)
            or (isinstance(node, cst.SimpleString) and " " in node.value)
            or (isinstance(node, cst.Arg) and _named(node.keyword or node.value) in _LEFT_ALONE)
            or (
                isinstance(node, cst.Call)
                and isinstance(node.func, cst.Attribute)
                and node.func.attr.value == "invalid"
            )
            or (isinstance(node, cst.Param) and _named(node.name) in _FOR_PEOPLE)
            or (isinstance(node, cst.Call) and _named(node.func) == "cast")
        )
        if text:
            found |= {id(one) for one in inside(node)}
    return found


def _named(node: cst.CSTNode) -> str:
    return node.value if isinstance(node, cst.Name) else ""


def _changes_text(mutation: file_mutation.Mutation, text: set[int]) -> bool:
    """Tell whether a mutation of a call drops or blanks an argument for people."""
    before, after = mutation.original_node, mutation.mutated_node
    if not isinstance(before, cst.Call) or not isinstance(after, cst.Call):
        return False
    kept = {id(arg) for arg in after.args}
    gone = [arg for arg in before.args if id(arg) not in kept]
    return bool(gone) and all(id(arg.value) in text or id(arg) in text for arg in gone)


def _described(source: str, code: str, names: Iterable[str]) -> Iterator[Mutant]:
    changed, original = _functions(code), _functions(source)
    for name in names:
        mangled = name.rpartition("__mutmut_")[0]
        before = changed[f"{mangled}__mutmut_orig"]
        place = original[mangled[2:]]  # x_function or xǁClassǁmethod
        after = changed[name]
        old = [line.replace(f"{mangled}__mutmut_orig", _plain(mangled)) for line in before[1]]
        new = [line.replace(name, _plain(mangled)) for line in after[1]]
        at = next((n for n, (one, two) in enumerate(zip(old, new, strict=False)) if one != two), 0)
        lines = list(difflib.unified_diff(old, new, lineterm="", n=0))[2:]
        diff = "\n".join(line for line in lines if not line.startswith("@@"))
        yield Mutant(name, mangled[2:].replace("ǁ", "."), place[0] + at, diff)


def _plain(mangled: str) -> str:
    return mangled[2:].rpartition("ǁ")[2]


def _functions(source: str) -> dict[str, tuple[int, list[str]]]:
    """Return the functions and methods of a source by name (``Classǁmethod``): first line, lines."""
    lines = source.splitlines()
    found: dict[str, tuple[int, list[str]]] = {}

    def take(node: ast.AST, owner: str) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            named = node.name if "__mutmut_" in node.name else f"{owner}{node.name}"
            found.setdefault(named, (node.lineno, lines[node.lineno - 1 : node.end_lineno]))

    for node in ast.parse(source).body:
        take(node, "")
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                take(inner, f"{node.name}ǁ")
    return found
