"""What is read of an MCP server's list of tools."""

from __future__ import annotations

import json
from typing import Any

import pytest

from remit.errors import Usage
from remit.policy import offered
from remit.policy.offered import Claims, Listing


def tool(name: str = "query", properties: Any = None, required: Any = (), **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties or {}, "required": list(required)}
    return {"name": name, "inputSchema": schema, **more}


def types(properties: Any, required: Any = (), **more: Any) -> dict[str, str]:
    schema = {"type": "object", "properties": properties, "required": list(required), **more}
    (read,) = offered.read([{"name": "t", "inputSchema": schema}]).tools
    return {one.name + ("" if one.required else "?"): one.type for one in read.inputs}


class TestClaims:
    @pytest.mark.parametrize(
        ("said", "groups"),
        [
            (None, ("write", "egress")),
            ({}, ("write", "egress")),
            ({"readOnlyHint": True}, ("read", "egress")),
            ({"readOnlyHint": True, "openWorldHint": False}, ("read",)),
            ({"readOnlyHint": False, "openWorldHint": False}, ("write",)),
            ({"destructiveHint": False}, ("write", "egress")),
            ({"readOnlyHint": True, "destructiveHint": True}, ("write", "egress")),
            ({"readOnlyHint": "true", "openWorldHint": 0}, ("write", "egress")),
            ({"readOnlyHint": 1}, ("write", "egress")),
            (["readOnlyHint"], ("write", "egress")),
        ],
    )
    def test_what_is_not_said_is_read_as_the_strictest(self, said: Any, groups: tuple[str, ...]) -> None:
        (read,) = offered.read([tool(annotations=said)]).tools
        assert read.claims.groups == groups

    @pytest.mark.parametrize(
        ("claims", "once"),
        [
            (Claims(), True),
            (Claims(read_only=True), False),
            (Claims(read_only=True, destructive=True), True),
            (Claims(idempotent=True), False),
            (Claims(idempotent=False), True),
        ],
    )
    def test_what_may_do_harm_twice_is_done_once(self, claims: Claims, once: bool) -> None:
        assert claims.once is once


class TestInputs:
    def test_cedar_has_a_type_for(self) -> None:
        given = {
            "text": {"type": "string"},
            "number": {"type": "integer"},
            "flag": {"type": "boolean"},
            "texts": {"type": "array", "items": {"type": "string"}},
            "word": {"enum": ["a", "b"]},
        }
        assert types(given, ["text", "flag"]) == {
            "text": "String", "number?": "Long", "flag": "Bool", "texts?": "Set<String>", "word?": "String",
        }  # fmt: skip

    @pytest.mark.parametrize(
        "schema",
        [
            {"type": ["string", "null"]},
            {"anyOf": [{"type": "string"}, {"type": "null"}]},
            {"oneOf": [{"type": "null"}, {"$ref": "#/$defs/Word"}]},
        ],
        ids=["type", "anyOf", "oneOf"],
    )
    def test_what_may_be_null_is_optional(self, schema: Any) -> None:
        # policies never see a null, so what the server requires may be missing for them
        assert types({"a": schema}, ["a"], **{"$defs": {"Word": {"type": "string"}}}) == {"a?": "String"}

    def test_a_reference_is_followed_in_the_same_document(self) -> None:
        definitions = {"A": {"$ref": "#/$defs/B"}, "B": {"type": "integer"}, "Loop": {"$ref": "#/$defs/Loop"}}
        given = {"a": {"$ref": "#/$defs/A"}, "loop": {"$ref": "#/$defs/Loop"}, "far": {"$ref": "http://a.example/x"}}
        assert types(given, **{"$defs": definitions}) == {"a?": "Long"}

    @pytest.mark.parametrize(
        "schema",
        [
            {"type": "object"}, {"type": "number"}, {"type": "array"}, {"type": "array", "items": {"type": "object"}},
            {"type": ["string", "integer"]}, {"anyOf": [{"type": "string"}, {"type": "integer"}]}, {}, True, None,
            {"enum": ["a", 1]}, {"enum": []}, {"type": 3}, {"$ref": 1}, {"anyOf": [3]}, {"type": "Long, x: Long"},
            {"type": "array", "items": [{"type": "string"}]}, {"type": []},
        ],
        ids=json.dumps,
    )  # fmt: skip
    def test_what_has_no_single_type_is_named_as_left_out(self, schema: Any) -> None:
        (read,) = offered.read([tool(properties={"odd": schema})]).tools
        assert read.inputs == ()
        assert read.left_out == ('"odd": no single Cedar type',)

    @pytest.mark.parametrize("name", ['a"b', "a\nb", "a b", "é", "", "a" * 64, "a\u202eb", "1a", "a}"])
    def test_a_name_policies_cannot_write_is_left_out(self, name: str) -> None:
        (read,) = offered.read([tool(properties={name: {"type": "string"}})]).tools
        assert read.inputs == ()
        (why,) = read.left_out
        assert why.isprintable()
        assert why.endswith(": no name policies can read")

    def test_a_huge_schema_is_cut_and_says_so(self) -> None:
        (read,) = offered.read([tool(properties={f"p{n:05}": {"type": "string"} for n in range(5000)})]).tools
        assert len(read.inputs) == offered.MOST_INPUTS
        assert read.left_out == ("4900 more: only the first 100 are read",)

    @pytest.mark.parametrize("schema", [None, [], "x", {"properties": []}, {"properties": {"a": 1}, "required": 3}])
    def test_a_schema_that_is_none_has_no_inputs(self, schema: Any) -> None:
        (read,) = offered.read([{"name": "t", "inputSchema": schema}]).tools
        assert read.inputs == ()


class TestTools:
    @pytest.mark.parametrize(
        "name", ["", "a" * 129, "a\nb", "a\u200bb", "a\u202eb", "\ud800", "`x`", "\u05d0", "e\u0301"]
    )
    def test_a_name_that_does_not_show_as_it_is_is_left_out(self, name: str) -> None:
        listing = offered.read([tool(name), tool("plain")])
        assert [one.name for one in listing.tools] == ["plain"]
        (why,) = listing.left_out
        assert why.isprintable()

    def test_a_list_with_a_name_twice_is_refused(self) -> None:
        with pytest.raises(Usage, match="which one is called") as refused:
            offered.read([tool("a"), tool("a", annotations={"readOnlyHint": True})])
        assert refused.value.code == "mcp.tools"

    @pytest.mark.parametrize("tools", [[{}], [None], [{"name": 3}], [tool(str(n)) for n in range(501)]])
    def test_a_list_that_is_none_is_refused(self, tools: list[Any]) -> None:
        with pytest.raises(Usage) as refused:
            offered.read(tools)
        assert refused.value.code == "mcp.tools"

    def test_the_order_is_that_of_the_names(self) -> None:
        assert offered.read([tool("b"), tool("a")]) == offered.read([tool("a"), tool("b")])
        assert offered.read([]) == Listing((), ())


class TestLoad:
    @pytest.mark.parametrize(
        "wrapped",
        [[{"name": "a"}], {"tools": [{"name": "a"}]}, {"jsonrpc": "2.0", "result": {"tools": [{"name": "a"}]}}],
    )
    def test_every_form_it_is_saved_in(self, wrapped: Any) -> None:
        assert offered.load(json.dumps(wrapped).encode()) == [{"name": "a"}]

    @pytest.mark.parametrize(
        "text",
        [
            b"", b"{", b"{}", b"3", b"null", b"\xff", b'{"tools": {}}', b'{"result": {}}',
            b'{"tools": [], "tools": [1]}', b'[{"name": "a", "name": "b"}]',
            b'{"tools": [], "nextCursor": "2"}', b"[" * 100_000, b" " * (8 * 2**20 + 1),
        ],
        ids=lambda text: repr(text[:30]),
    )  # fmt: skip
    def test_anything_else_is_refused(self, text: bytes) -> None:
        with pytest.raises(Usage) as refused:
            offered.load(text)
        assert refused.value.code == "mcp.tools"
