"""What the tools' inputs let in; the tools themselves are tested on the real servers."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from psycopg.sql import SQL
from pydantic import ValidationError

from activities.database import rows_of
from activities.http import Request
from activities.publish import Report, publish
from activities.sql import Query, plain, query
from remit.temporal.tool import declared_by


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (Query, {"dataset": "flights", "sql": ""}),
        (Query, {"dataset": "flights", "sql": "select 1", "limit": 1001}),
        (Query, {"dataset": "flights", "sql": "select 1", "limit": True}),
        (Query, {"dataset": "../x", "sql": "select 1"}),
        (Query, {"dataset": "flights\n", "sql": "select 1"}),
        (Query, {"dataset": "flights", "sql": "select 1", "dsn": "x"}),
        (Report, {"table": "a; drop", "sql": "select 1"}),
        (Report, {"table": "A", "sql": "select 1"}),
        (Report, {"table": "reports.a", "sql": "select 1"}),
        (Request, {"service": "x", "path": "//evil.example"}),
        (Request, {"service": "x", "path": "/../admin"}),
        (Request, {"service": "x", "path": "/a/./b"}),
        (Request, {"service": "x", "path": "/a@evil"}),
        (Request, {"service": "x", "path": "/a?b=c"}),
        (Request, {"service": "x", "path": "/a%2fb"}),
        (Request, {"service": "x", "path": "evil"}),
        (Request, {"service": "x", "path": "/a\n"}),
        (Request, {"service": "x", "method": "CONNECT"}),
        (Request, {"service": "x", "headers": {}}),
    ],
)
def test_what_does_not_fit_is_refused(model: Any, given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(given)


@pytest.mark.parametrize("path", ["", "/", "/a", "/a/b.json", "/v1/x/"])
def test_paths_below_the_service_are_let_in(path: str) -> None:
    assert Request(service="x", path=path).path == path


def test_tools_say_what_they_touch() -> None:
    found, made = declared_by(query), declared_by(publish)
    assert found is not None
    assert made is not None
    call = found.call([{"dataset": "payroll", "sql": "select 1"}])
    assert (call.action, call.resource, found.credential) == ("dataset:query", "payroll", "flights-ro")
    assert call.input == {"dataset": "payroll", "sql": "select 1", "limit": 100}
    call = made.call([{"table": "t", "sql": "select 1"}])
    assert (call.action, call.resource, made.credential) == ("report:publish", "reports", "reports-rw")


def test_a_statement_stands_as_a_subquery() -> None:
    assert rows_of(" select 1; ", most=3) == SQL("SELECT * FROM (\nselect 1\n) AS asked LIMIT 3")


@pytest.mark.parametrize(
    ("value", "json"),
    [
        (None, None), (True, True), (3, 3), ("x", "x"), (Decimal("1.5"), 1.5), (float("nan"), "nan"),
        (date(2013, 1, 2), "2013-01-02"), (datetime(2013, 1, 2, tzinfo=UTC), "2013-01-02T00:00:00+00:00"),
        (timedelta(minutes=1), 60.0), ([Decimal(1), None], [1.0, None]), ({"a": b"\x01"}, {"a": "01"}),
    ],
)  # fmt: skip
def test_database_values_become_json(value: Any, json: Any) -> None:
    assert plain(value) == json
