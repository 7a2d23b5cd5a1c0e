import pytest

from remit.errors import InvalidDocument
from remit.principals import Principal


@pytest.mark.parametrize("text", ["spiffe://remit.local/user/alice", "spiffe://a-b.example_1/agent/0-x"])
def test_a_spiffe_id_is_read_and_written_the_same(text):
    assert Principal.parse(text).spiffe_id == text == str(Principal.parse(text))


def test_the_short_name_and_audience():
    alice = Principal("remit.local", "user", "alice")
    assert alice.short == "user/alice"
    assert alice.audience == "remit:remit.local"


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        [],
        "",
        "alice",
        "spiffe://remit.local/user/",
        "spiffe://remit.local/group/alice",
        "spiffe://remit.local/user/Alice",
        "spiffe://remit.local/user/аlice",  # Cyrillic а
        "spiffe://remit.local/user/alice\n",
        "spiffe://remit.local/user/alice/",
        "spiffe://remit.local/user/../agent/x",
        "spiffe://remit.local/user/%2e%2e",
        "spiffe://remit.local//user/alice",
        "spiffe://remit.local/user/alice?x",
        "spiffe://remit.local/user/alice#x",
        "spiffe://remit.local/user/a*",
        "spiffe://remit.local/user/a+",
        "spiffe://remit.local/user/a;b",
        "spiffe://remit.local/user/a'b",
        "spiffe://remit.local/user/a\0",
        "spiffe://remit.local/user/-a",
        "spiffe://remit.local/user/" + "a" * 42,
        "spiffe://Remit.Local/user/alice",
        "spiffe://" + "a" * 300 + "/user/alice",
        "SPIFFE://remit.local/user/alice",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(InvalidDocument) as refused:
        Principal.parse(text)
    assert refused.value.code == "principal.name"


def test_a_principal_cannot_be_made_of_parts_that_could_not_be_read():
    with pytest.raises(InvalidDocument) as refused:
        Principal("remit.local", "user", "a/b")
    assert refused.value.code == "principal.name"
