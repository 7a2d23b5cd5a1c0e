"""A policy folder of one's own: the project's, with changes."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.policies.questions import POLICIES


def folder(tmp_path: Path, **files: str) -> Path:
    """Copy the project's policies; `name=text` adds or replaces `name.cedar`, `schema` and `catalogue` themselves."""
    copy = tmp_path / "policies"
    shutil.copytree(POLICIES, copy, ignore=shutil.ignore_patterns("openbao"))
    names = {"schema": "schema.cedarschema", "catalogue": "catalogue.yaml"}
    for name, text in files.items():
        (copy / names.get(name, f"{name}.cedar")).write_text(text)
    return copy
