from __future__ import annotations

import pytest

from remit.verdict import Verdict, deny


@pytest.mark.parametrize(("decision", "permitted"), [("permit", True), ("needs-approval", False), ("deny", False)])
def test_only_a_permit_permits(decision: str, permitted: bool) -> None:
    assert Verdict(decision).permitted is permitted  # type: ignore[arg-type]


def test_a_deny_carries_its_reasons() -> None:
    verdict = deny("no", policies=("quarantine",), errors=("x",))
    assert (verdict.decision, verdict.policies, verdict.errors, verdict.reason) == (
        "deny",
        ("quarantine",),
        ("x",),
        "no",
    )
    assert verdict.ttl is verdict.wait is None


def test_a_verdict_is_frozen() -> None:
    with pytest.raises(AttributeError):
        deny("no").decision = "permit"  # type: ignore[misc]
