"""References in headers: small, exact, and nothing else passes for one."""

from __future__ import annotations

import pytest
from temporalio.api.common.v1 import Payload

from remit.delegation import Reference
from remit.errors import InvalidDocument
from remit.temporal import _header as header

REFERENCE = Reference("0b0e7d3c-6f0a-4a43-9f0e-2f6a5b7c8d9e", "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU")
RUN = "01a2046c-c4fe-7245-bff6-b1fd0acd0a71"


@pytest.mark.parametrize("step", [0, 1, 255, 256, 70_000, 2**32 - 1])
@pytest.mark.parametrize("run", ["", RUN])
def test_a_mark_is_read_as_it_was_written(step: int, run: str) -> None:
    mark = header.Mark(REFERENCE, run, step)
    payload = header.write(mark)
    assert header.read({header.KEY: payload}) == mark
    assert len(payload.SerializeToString()) <= 71


def test_no_header_is_no_mark() -> None:
    assert header.read({}) is None
    assert header.read_approvals({}) == ()
    assert header.read_terms({}) == header.Terms(None)


@pytest.mark.parametrize(
    "mark",
    [
        header.Mark(Reference("x", REFERENCE.digest)),
        header.Mark(Reference(REFERENCE.delegation.upper(), REFERENCE.digest)),
        header.Mark(Reference("{" + REFERENCE.delegation + "}", REFERENCE.digest)),
        header.Mark(Reference(REFERENCE.delegation, "")),
        header.Mark(Reference(REFERENCE.delegation, REFERENCE.digest[:-1])),
        header.Mark(Reference(REFERENCE.delegation, REFERENCE.digest + "A")),
        header.Mark(Reference(REFERENCE.delegation, REFERENCE.digest.replace("-", "+"))),
        header.Mark(REFERENCE, "not-a-run"),
        header.Mark(REFERENCE, RUN, 2**32),
    ],
)
def test_what_names_no_delegation_is_not_written(mark: header.Mark) -> None:
    with pytest.raises(InvalidDocument) as refused:
        header.write(mark)
    assert refused.value.code == "delegation.reference"


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x02" + bytes(64), bytes(65), b"\x01" + bytes(69), b"{}" * 40])
def test_what_is_no_mark_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidDocument):
        header.read({header.KEY: Payload(data=data)})


def test_approvals_and_terms_survive() -> None:
    assert header.read_approvals({header.APPROVALS: header.write_approvals(["a", "b"])}) == ("a", "b")
    assert header.read_terms({header.TERMS: header.write_terms(header.Terms(60))}) == header.Terms(60)


@pytest.mark.parametrize("data", [b"", b"{", b"5", b"[" * 5000, b'{"wait": true}', b'{"wait": -1}', b'["a", 5]'])
def test_malformed_approvals_and_terms_give_nothing(data: bytes) -> None:
    headers = {header.APPROVALS: Payload(data=data), header.TERMS: Payload(data=data)}
    assert header.read_approvals(headers) in ((), ("a",))
    assert header.read_terms(headers) == header.Terms(None), "the stricter of the two"


def test_approvals_are_bounded() -> None:
    assert header.read_approvals({header.APPROVALS: header.write_approvals(["a"] * 17)}) == ()
