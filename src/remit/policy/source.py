"""Source: the policy folder as text, and where each statement of it begins.

- Every ``*.cedar`` file counts, in the order of their names; ``schema.cedarschema`` is the schema.
- Cedar's parser decides what a policy is; the split here only finds lines, and is refused where the two disagree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from remit.policy.findings import Finding, PolicyInvalid

SCHEMA = "schema.cedarschema"
CATALOGUE = "catalogue.yaml"

_TOKEN = re.compile(r'//[^\n]*|"(?:\\.|[^"\\])*"|\s+|.', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Statement:
    """One policy as written."""

    file: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Source:
    """A policy folder, read.

    Args:
        folder: Where it is.
        schema: Text of the schema.
        policies: Text of each policy file, by name, in order.
    """

    folder: Path
    schema: str
    policies: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> Source:
        """Read a folder.

        Raises:
            PolicyInvalid: A file is missing or is not UTF-8 text.
        """
        findings: list[Finding] = []
        texts: dict[str, str] = {}
        names = [SCHEMA, *sorted(path.name for path in folder.glob("*.cedar"))]
        for name in names:
            try:
                texts[name] = (folder / name).read_text(encoding="utf-8")
            except FileNotFoundError:
                findings.append(Finding(name, 0, "there is no such file"))
            except (OSError, UnicodeDecodeError) as error:
                findings.append(Finding(name, 0, f"it cannot be read: {error}"))
        if names == [SCHEMA] and not findings:
            findings.append(Finding("*.cedar", 0, "there is no policy file"))
        if findings:
            raise PolicyInvalid(str(folder), findings)
        return cls(folder, texts.pop(SCHEMA), texts)

    @property
    def text(self) -> str:
        """Return all policies as one text, in order; Cedar numbers them by it."""
        return "\n".join(self.policies.values())

    def statements(self) -> list[Statement]:
        """Return every statement, in the order of `text`."""
        return [statement for name, text in self.policies.items() for statement in _split(name, text)]


def _split(file: str, text: str) -> Iterator[Statement]:
    begin: int | None = None
    for token in _TOKEN.finditer(text):
        word = token.group()
        if word.isspace() or word.startswith("//"):
            continue
        if begin is None:
            begin = token.start()
        if word == ";":
            yield Statement(file, text.count("\n", 0, begin) + 1, text[begin : token.end()])
            begin = None
    if begin is not None:
        yield Statement(file, text.count("\n", 0, begin) + 1, text[begin:].rstrip())
