"""A tool's declaration turns arguments into exactly one call, or refuses them."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, Field

from remit.errors import Refused
from remit.tool import Tool


class Query(BaseModel):
    model_config = ConfigDict(extra="forbid")

    dataset: str
    limit: int = Field(default=100, ge=1)
    note: str | None = None


TOOL = Tool(name="q", action="dataset:query", resource=lambda query: query.dataset, input=Query)


def test_a_mapping_and_a_model_mean_the_same_call() -> None:
    call = TOOL.call([{"dataset": "flights"}])
    assert call == TOOL.call([Query(dataset="flights")])
    assert (call.action, call.resource) == ("dataset:query", "flights")
    assert dict(call.input) == {"dataset": "flights", "limit": 100}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [{"dataset": "flights"}, 1],
        [{}],
        [{"dataset": "flights", "limit": 0}],
        [{"dataset": "f", "extra": 1}],
        [None],
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_anything_is_decided(arguments: list[object]) -> None:
    with pytest.raises(Refused) as caught:
        TOOL.call(arguments)
    assert caught.value.code == "tool.input"
    assert "dataset" in caught.value.next_action
