"""Strict JSON (rule 7): one object, read one way only.

- Size is the caller's (rule 1); depth is checked before parsing, so nothing recurses far.
- No duplicate names, no NaN or infinity, integers within ±(2^53-1), no lone surrogates, UTF-8 only.
- Every failure, a RecursionError too, is an `InvalidDocument` of rule 7.

RFC 7493 (I-JSON) says the same for numbers, names and strings.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from remit.errors import InvalidDocument

MAX_DEPTH = 16
MAX_INTEGER = 2**53 - 1

# A string runs to its end or to the text's: a scan that gave up and began again would be quadratic.
_BRACKET_OR_STRING = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[\[{\]}]', re.DOTALL)


def loads(data: bytes) -> dict[str, Any]:
    """Parse one JSON object.

    Raises:
        InvalidDocument: ``jws.json``, ``jws.json-depth``, ``jws.json-duplicate``, ``jws.json-number`` or
            ``jws.json-text``.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise _refused("json-text", "it is not UTF-8") from None
    _check_depth(text)
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise _refused("json", "it is not JSON") from None
    if type(value) is not dict:
        raise _refused("json", "it is not an object")
    if "\\u" in text:  # only an escape can smuggle a lone surrogate past the UTF-8 decoder
        _check_surrogates(value)
    return value


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _BRACKET_OR_STRING.finditer(text):
        if match[0] in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise _refused("json-depth", f"it is nested deeper than {MAX_DEPTH}")
        elif match[0] in "]}":
            depth -= 1


def _check_surrogates(value: dict[str, Any]) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise _refused("json-text", "it holds a lone surrogate") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _refused("json-duplicate", "a name stands twice in one object")
    return value


def _integer(digits: str) -> int:
    # Length first: int() of thousands of digits is slow, then refused by Python itself.
    if len(digits) > 17 or abs(number := int(digits)) > MAX_INTEGER:
        raise _refused("json-number", "an integer is beyond 2^53-1")
    return number


def _real(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _refused("json-number", "a number is not finite")
    return number


def _constant(name: str) -> Any:
    raise _refused("json-number", f"{name} is not a JSON number")


def _refused(kind: str, why: str) -> InvalidDocument:
    return InvalidDocument(f"the document's JSON is refused: {why}", code=f"jws.{kind}", rule=7)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_real, parse_constant=_constant)
