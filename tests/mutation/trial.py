"""One module's trial: its tests are collected once over the mutated source, then run in a fork for each mutant.

- The source on disk is never changed: an importer gives this process the mutated one.
- A mutant is killed when a test fails, or when the tests take far longer than without it. All else survives.
- Without any mutant the tests must pass, before the first one and after the last.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import os
import select
import signal
import sys
import time
import types
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from mutmut.mutation.trampoline import set_mutant_under_test

from tests.mutation.mutants import Mutant, mutated

TESTS = Path(__file__).parent.parent
SLOWER = 5
"""How many times as long as without a mutant counts as never, and how many seconds at least."""


class Importer(importlib.abc.MetaPathFinder):
    """Gives one module its mutated source."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.mutants: list[Mutant] = []
        self.path = ""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self.module:
            return None
        found = importlib.machinery.PathFinder.find_spec(name, path)
        if found is None or found.origin is None:
            raise ImportError(name)
        self.path = found.origin
        code, self.mutants = mutated(Path(found.origin).read_text(encoding="utf-8"))
        found.loader = _Loader(name, found.origin, code)
        return found


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, code: str) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, _name: str) -> types.CodeType:
        return compile(self._code, self.path, "exec", dont_inherit=True)


class Trial:
    """A pytest plugin that runs what was collected once for each mutant."""

    def __init__(self, importer: Importer) -> None:
        self.importer = importer
        self.survivors: list[Mutant] = []
        self.problem = "nothing was tried"
        self._killers: Counter[str] = Counter()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the collected tests as often as there are mutants."""
        began = time.monotonic()
        if session.testsfailed or (failed := self._run(session, None, seconds=600)):
            self.problem = f"the tests fail without any mutant: {failed if not session.testsfailed else 'collection'}"
            return True
        allowed = SLOWER + SLOWER * (time.monotonic() - began)
        for mutant in self.importer.mutants:
            killer = self._run(session, mutant, seconds=allowed)
            self._killers[killer] += 1
            if not killer:
                self.survivors.append(mutant)
        failed = self._run(session, None, seconds=600)
        self.problem = f"the tests fail without any mutant, after all others: {failed}" if failed else ""
        return True

    def _run(self, session: pytest.Session, mutant: Mutant | None, *, seconds: float) -> str:
        """Run the tests in a fork; return the first that fails, "" if none does."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _tests(
                session, self._in_order(session), "" if mutant is None else mutant.name, self.importer.module, writer
            )
        os.close(writer)
        told, deadline = b"", time.monotonic() + seconds
        with os.fdopen(reader, "rb", buffering=0) as answers:
            while (left := deadline - time.monotonic()) > 0:
                if select.select([answers], [], [], left)[0]:
                    if not (some := answers.read(4096)):
                        break
                    told += some
            else:
                os.kill(child, signal.SIGKILL)
                told = b"(too slow)"
        _, status = os.waitpid(child, 0)
        return told.decode() or ("" if status == 0 else "(died)")

    def _in_order(self, session: pytest.Session) -> list[pytest.Item]:
        """Return the tests, those that killed most first."""
        return sorted(session.items, key=lambda item: -self._killers[item.nodeid])


def _tests(session: pytest.Session, items: Sequence[pytest.Item], mutant: str, module: str, writer: int) -> None:
    """Run tests until one fails, say which, and end this process."""
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        if mutant:
            set_mutant_under_test(f"{module}.{mutant}")
        for number, item in enumerate(items):
            following = items[number + 1] if number + 1 < len(items) else None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                os.write(writer, item.nodeid.encode()[:1000])
                os._exit(1)
        os._exit(0)
    except BaseException as error:
        os.write(writer, f"({type(error).__name__})".encode())
        os._exit(1)


def tried(module: str, tests: Sequence[str]) -> dict[str, Any]:
    """Try every mutant of a module; return how many there were, who survived, and what is wrong with the trial."""
    importer = Importer(f"remit.{module}")
    sys.meta_path.insert(0, importer)
    trial = Trial(importer)
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "-W", "default"]
    began = time.monotonic()
    pytest.main([*options, *(str(TESTS / test) for test in tests)], plugins=[trial])
    return {
        "module": module,
        "path": importer.path,
        "mutants": len(importer.mutants),
        "survivors": [asdict(one) for one in trial.survivors],
        "problem": trial.problem,
        "seconds": round(time.monotonic() - began),
        "killers": trial._killers.most_common(),
    }


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(tried(sys.argv[1], sys.argv[2:])))
