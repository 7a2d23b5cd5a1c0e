"""Conversation: what a task and a model said to each other, as plain JSON that goes along with the task.

- A turn is ``{"role": "user", "text"}``, ``{"role": "model", "message"}`` as the model's library writes it, or
  ``{"role": "tools", "returns": [{"call", "tool", "content"}…]}``.
- It stays small enough for any payload: what tools returned long ago is shortened first, and says so; what they
  returned last is shortened only where nothing else helps.
"""

from __future__ import annotations

import json
from typing import Any

Turn = dict[str, Any]

LONGEST = 256 * 1024
"""Bytes of a conversation in a payload: JSON in ASCII."""
LONGEST_RETURN = 32 * 1024
"""Characters of what one tool returned."""
SHORTENED = 500
_LAST = (8 * 1024, 2 * 1024, SHORTENED)
_CUT = " … (shortened)"


def begun(goal: str) -> list[Turn]:
    """Return a conversation in which the task's goal was said."""
    return [{"role": "user", "text": goal}]


def returned(call: dict[str, Any], content: Any) -> dict[str, Any]:
    """Return what a call gave, as the model reads it."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, sort_keys=True)
    carried = text.encode(errors="replace").decode()  # half a surrogate pair is no text, and no digest carries it
    return {"call": call["call"], "tool": call["name"], "content": _cut(carried, LONGEST_RETURN)}


def fitted(conversation: list[Turn]) -> list[Turn] | None:
    """Return a conversation that fits, its oldest returns shortened as far as it takes; None when none would."""
    size, fitting = _size(conversation), list(conversation)
    last = len(fitting) - 1
    for number, most in [*((number, SHORTENED) for number in range(last)), *((last, most) for most in _LAST)]:
        turn = fitting[number]
        if size > LONGEST and turn["role"] == "tools":
            short = [{**one, "content": _cut(one["content"], most)} for one in turn["returns"]]
            fitting[number] = {**turn, "returns": short}
            size += _size([fitting[number]]) - _size([turn])
    return fitting if size <= LONGEST else None


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most + len(_CUT) else text[:most] + _CUT


def _size(turns: list[Turn]) -> int:
    return len(json.dumps(turns))
