import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.errors import Refused
from remit.step import Call, arguments_digest, binding, request_id, shown
from tests.unit.documents import refusal

CALL = Call("dataset:query", "flights", {"dataset": "flights", "sql": "select 1", "limit": 5})
WHERE = {"task": "task-1", "run": "run-1", "delegation": "d-1"}


def test_digests_are_stable():
    # Written out: whoever holds the arguments can compute them with any RFC 8785 library.
    assert arguments_digest(CALL) == "xWzjoedN-mHFm2Nz_EF0E4X7IMYElD2ikGcb-9jNviA"
    assert binding(**WHERE, call=CALL) == "UPOI6NVW8tsS_rS0-MuJuMc4yKQKoh2iWccwWmDzQgQ"
    assert request_id(binding(**WHERE, call=CALL), 1) == "E-zvY3986IvHmnd0"


# Attack 17: the same canonical JSON in another order passes.
def test_the_order_of_members_does_not_matter():
    turned = Call(CALL.action, CALL.resource, dict(reversed(CALL.input.items())))
    assert arguments_digest(turned) == arguments_digest(CALL)
    assert binding(**WHERE, call=turned) == binding(**WHERE, call=CALL)


# Attacks 17 and 18: anything else changed is another step.
@pytest.mark.parametrize(
    "other",
    [
        Call("dataset:export", "flights", CALL.input),
        Call("dataset:query", "payroll", CALL.input),
        Call("dataset:query", "flights", {**CALL.input, "limit": 6}),
        Call("dataset:query", "flights", {**CALL.input, "limit": "5"}),
        Call("dataset:query", "flights", {**CALL.input, "limit": None}),
        Call("dataset:query", "flights", {**CALL.input, "sql": "select 1 "}),
        Call("dataset:query", "flights", {**CALL.input, "sql": "sеlect 1"}),
        Call("dataset:query", "flights", {**CALL.input, "extra": []}),
        Call("dataset:query", "flights", {}),
    ],
)
def test_any_change_is_another_step(other):
    assert arguments_digest(other) != arguments_digest(CALL)
    assert binding(**WHERE, call=other) != binding(**WHERE, call=CALL)


@pytest.mark.parametrize("name", sorted(WHERE))
def test_a_binding_is_for_one_task_run_and_delegation(name):
    assert binding(**{**WHERE, name: "other"}, call=CALL) != binding(**WHERE, call=CALL)


def test_lists_keep_their_order():
    assert arguments_digest(Call("a", "r", {"x": [1, 2]})) != arguments_digest(Call("a", "r", {"x": [2, 1]}))


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        2**53,
        -(2**53),
        10**5000,
        "\ud800",
        {"\ud800": 1},
        {1: 2},
        {None: 2},
        b"bytes",
        {1, 2},
        object(),
        nested(5000),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("digest", [arguments_digest, lambda call: binding(**WHERE, call=call)])
def test_what_json_cannot_carry_is_refused(digest, value):
    assert refusal(lambda: digest(Call("a", "r", {"x": value}))).code == "step.input"


def test_a_request_is_one_step():
    bound = binding(**WHERE, call=CALL)
    assert len(request_id(bound, 1)) == 16
    assert len({request_id(bound, step) for step in range(50)}) == 50


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4), st.randoms(use_true_random=False))
def test_a_digest_depends_on_the_value_alone(value, rng: random.Random):
    def shuffled(part):
        if isinstance(part, dict):
            items = [(name, shuffled(inner)) for name, inner in part.items()]
            rng.shuffle(items)
            return dict(items)
        return [shuffled(inner) for inner in part] if isinstance(part, list) else part

    assert arguments_digest(Call("a", "r", shuffled(value))) == arguments_digest(Call("a", "r", value))


# Attack 22: what an approver reads.
@pytest.mark.parametrize(
    "hostile",
    [
        "a\nb",
        "a\r\nb",
        "\x1b[31mred",
        "\x7f",
        "\x9b31m",
        "a\u202eb",
        "a\u2066b",
        "a\u200bb",
        "\ufeff",
        "\u2028",
        "\u0301",
        "\u05d0",
        "\u0627",
        "\u3164",
        "\u0661",
        "```\n# done",
        "\U000e0041",
        "\ud800",
        "\u00a0",
    ],
    ids=ascii,
)
def test_nothing_hostile_is_shown_as_it_is(hostile):
    text = shown({"sql": f"x{hostile}y", f"k{hostile}": [hostile]})
    assert json.loads(text) == {"sql": f"x{hostile}y", f"k{hostile}": [hostile]}
    for character in hostile:
        if not (character.isascii() and character.isprintable() and character != "`"):
            assert character not in text


@given(JSON)
def test_what_is_shown_is_one_printable_line_of_the_same_value(value):
    text = shown(value)
    assert json.loads(text) == value
    assert text.isprintable()
    assert "`" not in text


def test_plain_text_stays_readable():
    assert shown({"city": "Zürich", "n": 1}) == '{"city": "Zürich", "n": 1}'


def circle():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [object(), nested(5000), {1: 2, "a": 1}, circle()],
    ids=["an object", "deep", "numbers as names", "a circle"],
)
def test_what_is_not_json_is_not_shown(value):
    with pytest.raises(Refused):
        shown(value)
