"""Attack 16: ten thousand chains, made correct and then spoiled, judged by the library and by the oracle.

They must agree whether a chain is valid, and where it is not, on the rule:

- The library stops at the first rule it finds broken; the oracle tells all rules that the first bad link breaks. So the
  library's number must be one of the oracle's, and the very same wherever the oracle has only one.
- Sizes come before everything: where the oracle says that, the library must say rule 1.
"""

from __future__ import annotations

import random
import sys
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remit import jose
from remit.chain import verify_chain
from remit.errors import InvalidDocument

from . import oracle
from .making import PARENTS, Draft, correct, groups
from .spoiling import SPOILS

COUNT = 10_000
GROUPS = groups()
SCARCE = ("names_somebody_else", "hashes_another_parent", "stands_at_another_depth", "adds_actions", "adds_budget")
"""Tried twice as often: the rules they break are hard to break alone."""


def verified(draft: Draft, links: object) -> InvalidDocument | None:
    """Return what the library refuses a chain with, or None."""
    anchors = {name: jose.public_key(jwk) for name, jwk in draft.anchors.items()}
    try:
        verify_chain(links, anchors=anchors, audience=draft.audience, now=draft.now, groups=GROUPS)  # type: ignore[arg-type]
    except InvalidDocument as error:
        return error
    return None


def agreed(draft: Draft) -> tuple[int, bool]:
    """Return the rule both judges refuse a chain by, 0 for none, and whether it could be no other."""
    links = draft.signed()
    refused = verified(draft, links)
    judged = oracle.judge(links, anchors=draft.anchors, audience=draft.audience, now=draft.now, parents=PARENTS)
    told = f"library: {refused and (refused.rule, refused.code, refused.message)}, oracle: {judged}"
    assert (refused is None) is judged.valid, told
    if refused is None:
        return 0, True
    assert refused.rule in judged.broken, told
    return refused.rule, len(judged.broken) == 1


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(st.integers(1, 8), st.integers(0, 2**32))
def test_16_correct_chains_are_valid_for_both(length: int, number: int) -> None:
    assert agreed(correct(length, random.Random(number))) == (0, True)


def test_16_ten_thousand_chains_are_judged_alike(capsys: pytest.CaptureFixture[str]) -> None:
    seen: Counter[tuple[int, bool]] = Counter()
    done: Counter[str] = Counter()

    @settings(
        max_examples=COUNT,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(
        st.sampled_from((1, 2, 2, 3, 3, 4, 5, 8)),
        st.integers(0, 2**48),
        st.sampled_from((*SPOILS, *SCARCE)),
        st.sampled_from((*SPOILS, *[None] * len(SPOILS) * 2)),
    )
    def judged_alike(length: int, number: int, first: str, second: str | None) -> None:
        draft = correct(length, random.Random(number))
        for name in filter(None, (first, second)):
            SPOILS[name](draft)
            done[name] += 1
        seen[agreed(draft)] += 1

    judged_alike()
    with capsys.disabled():
        sys.stdout.write(_table(seen))
    assert seen.total() >= COUNT
    assert set(done) == set(SPOILS)
    assert {rule for rule, alone in seen if alone} == set(range(14)), "valid, and each rule as the only one broken"
    assert seen[0, True] >= COUNT / 10
    assert seen.total() - seen[0, True] >= COUNT / 2


def _table(seen: Counter[tuple[int, bool]]) -> str:
    lines = [f"\n{seen.total()} chains, judged alike; {seen[0, True]} are valid.", "rule: only it can be broken / all"]
    for rule in range(1, 14):
        alone = seen[rule, True]
        lines.append(f"  {rule:2}: {alone:5} / {alone + seen[rule, False]:5}")
    return "\n".join([*lines, ""])
