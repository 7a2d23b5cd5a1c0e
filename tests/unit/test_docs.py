"""The documents: their links lead somewhere, their code runs against the real API, their names are the code's own."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import _Definition

from remit.settings import Settings
from remit.temporal import RemitPlugin
from remit.temporal.tool import declared_by

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")


def targets(rule: str) -> set[str]:
    """Return the targets of the Makefile that match."""
    return set(re.findall(rule, (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
class TestEveryPage:
    def test_its_links_lead_somewhere(self, page: Path) -> None:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if not link.startswith(("http://", "https://")):
                assert (page.parent / link).exists(), link

    def test_the_files_it_names_exist(self, page: Path) -> None:
        text = page.read_text(encoding="utf-8")
        for path in re.findall(r"`((?:src|tests|docs|deploy|policies|workflows|activities)/[\w./-]+)`", text):
            assert (ROOT / path).exists(), path

    def test_the_make_targets_it_names_exist(self, page: Path) -> None:
        named = set(re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE))
        assert named <= targets(r"^([a-z]+):")

    def test_the_settings_it_names_exist(self, page: Path) -> None:
        known = {f"REMIT_{field.upper()}" for field in Settings.model_fields} | {"REMIT_DEBUG"}
        assert set(re.findall(r"\bREMIT_[A-Z_]+\b", page.read_text(encoding="utf-8"))) <= known


class TestReadme:
    def test_readme_and_security_have_the_same_table(self) -> None:
        def table(text: str) -> list[str]:
            return re.findall(
                r"^\| (?:boundary|who signed|what a cred|which step|signals and|Temporal hist).*$", text, re.M
            )

        assert len(table(README)) == 6
        assert table(README) == table(SECURITY)

    @pytest.fixture
    def example(self, tmp_path: Path) -> Iterator[ModuleType]:
        (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
        path = tmp_path / "readme_example.py"
        path.write_text(code, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        sys.path.insert(0, str(tmp_path))  # the sandbox imports it again
        spec.loader.exec_module(module)
        yield module
        sys.path.remove(str(tmp_path))
        del sys.modules[path.stem]

    def test_its_tool_is_declared(self, example: ModuleType) -> None:
        declared = declared_by(example.query)
        assert declared is not None
        call = declared.call([{"dataset": "flights", "sql": "select 1"}])
        assert (call.action, call.resource, declared.credential) == ("dataset:query", "flights", "flights-ro")

    async def test_its_workflow_passes_the_sandbox(self, example: ModuleType) -> None:
        restrictions = SandboxRestrictions.default.with_passthrough_modules("remit")
        runner = dataclasses.replace(SandboxedWorkflowRunner(), restrictions=restrictions)
        runner.prepare_workflow(_Definition.must_from_class(example.Delays))

    def test_its_plugin_takes_these_arguments(self, example: ModuleType) -> None:
        assert example.RemitPlugin is RemitPlugin
        RemitPlugin(authority=None, presenter=None)


class TestOperations:
    def test_every_setting_is_described(self) -> None:
        rows = set(re.findall(r"^\| `REMIT_([A-Z_]+)` \|", OPERATIONS, re.MULTILINE))
        assert rows == {field.upper() for field in Settings.model_fields}

    def test_every_compose_service_is_described(self) -> None:
        compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
        body = compose.split("\nservices:\n")[1].split("\nnetworks:\n")[0]
        for name in re.findall(r"^  ([a-z-]+):$", body, re.MULTILINE):
            assert f"`{name}`" in OPERATIONS, name
