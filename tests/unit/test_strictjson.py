import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.errors import InvalidDocument
from remit.strictjson import MAX_INTEGER, loads
from tests.unit.documents import refusal

REFUSED = {
    "not JSON": (b"{", "jws.json"),
    "empty": (b"", "jws.json"),
    "a list": (b"[]", "jws.json"),
    "a string": (b'"x"', "jws.json"),
    "two values": (b"{}{}", "jws.json"),
    "comment": (b"{}//", "jws.json"),
    "trailing comma": (b'{"a":1,}', "jws.json"),
    "raw newline in a string": (b'{"a":"\n"}', "jws.json"),
    "byte order mark": (b"\xef\xbb\xbf{}", "jws.json"),
    "UTF-16": ('{"a":1}'.encode("utf-16"), "jws.json-text"),
    "invalid UTF-8": (b'{"a":"\xff"}', "jws.json-text"),
    "raw surrogate": (b'{"a":"\xed\xa0\x80"}', "jws.json-text"),
    "escaped lone surrogate": (b'{"a":"\\ud800"}', "jws.json-text"),
    "escaped lone surrogate in a name": (b'{"\\udc00":1}', "jws.json-text"),
    "duplicate": (b'{"a":1,"a":2}', "jws.json-duplicate"),
    "duplicate by escape": (b'{"a":1,"\\u0061":2}', "jws.json-duplicate"),
    "duplicate inside": (b'{"b":[{"a":1,"a":1}]}', "jws.json-duplicate"),
    "NaN": (b'{"exp":NaN}', "jws.json-number"),
    "Infinity": (b'{"exp":Infinity}', "jws.json-number"),
    "-Infinity": (b'{"exp":-Infinity}', "jws.json-number"),
    "1e400": (b'{"exp":1e400}', "jws.json-number"),
    "2^53": (b'{"exp":9007199254740992}', "jws.json-number"),
    "-2^53": (b'{"exp":-9007199254740992}', "jws.json-number"),
    "5,000 digits": (b'{"exp":' + b"9" * 5000 + b"}", "jws.json-number"),
    "17 levels": (b'{"a":' + b"[" * 16 + b"]" * 16 + b"}", "jws.json-depth"),
    "5,000 levels": (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", "jws.json-depth"),
    "5,000 levels, never closed": (b'{"a":' * 5000, "jws.json-depth"),
    "levels behind a string with brackets": (b'{"a":"]]]]]]","b":' + b"[" * 16 + b"]" * 16 + b"}", "jws.json-depth"),
    "levels behind an escaped quote": (b'{"\\"]]":' + b"[" * 16 + b"]" * 16 + b"}", "jws.json-depth"),
    "levels behind many that are closed": (
        b'{"a":[' + b"[]," * 20 + b"[" * 15 + b"]" * 15 + b"]}",
        "jws.json-depth",
    ),
    "unclosed string full of quotes": (b'{"' + b"[" * 20 + b'\\"' * 4000, "jws.json"),
}


@pytest.mark.parametrize(("data", "code"), REFUSED.values(), ids=REFUSED)
def test_one_reading_only(data, code):
    refused = refusal(lambda: loads(data))
    assert (refused.code, refused.rule) == (code, 7)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a":9007199254740991,"b":-9007199254740991}', {"a": MAX_INTEGER, "b": -MAX_INTEGER}),
        (b'{"a":' + b"[" * 15 + b"]" * 15 + b"}", None),
        (b'{"a":"' + b"[" * 500 + b'"}', {"a": "[" * 500}),  # brackets in a string are no depth
        (b'{"{":' + b"[" * 15 + b"]" * 15 + b',"b":[]}', None),  # exactly 16 levels, counted
        (b'{"a":[' + b"[]," * 30 + b"[]]}", {"a": [[]] * 31}),  # wide is not deep
        (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'{"a":1.5,"b":true,"c":null}', {"a": 1.5, "b": True, "c": None}),
    ],
)
def test_what_passes(data, value):
    assert loads(data) == (json.loads(data) if value is None else value)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), _VALUES, max_size=5))
def test_json_of_bounded_depth_is_read_as_written(value):
    def depth(part):
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    for ascii_only in (True, False):
        data = json.dumps(value, ensure_ascii=ascii_only).encode()
        if depth(value) <= 16:
            assert loads(data) == value
        else:
            with pytest.raises(InvalidDocument):
                loads(data)


@given(st.binary(max_size=200) | st.text('{}[]":,\\u0d18e-.NaIf', max_size=200).map(str.encode))
def test_junk_is_refused_and_never_breaks(data):
    with contextlib.suppress(InvalidDocument):
        assert type(loads(data)) is dict
