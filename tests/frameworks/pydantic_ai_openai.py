"""A pydantic-ai agent that asks a real model class, OpenAI's, at the address in ``REMIT_TEST_MODEL``."""

from __future__ import annotations

import os

import httpx2
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.durable_exec.temporal import PydanticAIWorkflow, TemporalDurability
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from temporalio import workflow

from remit.delivery.httpx2 import Auth
from tests.frameworks.pydantic_ai_agents import data

ADDRESS = os.environ["REMIT_TEST_MODEL"]
client = AsyncOpenAI(
    base_url=f"{ADDRESS}/v1",
    api_key="of each attempt its own",
    max_retries=0,
    http_client=httpx2.AsyncClient(auth=Auth(to=ADDRESS, field="key")),
)
paying = Agent(
    OpenAIChatModel("gpt-scripted", provider=OpenAIProvider(openai_client=client)),
    name="paying",
    model_settings={"max_tokens": 500},
    toolsets=[data],
    capabilities=[TemporalDurability()],
)


@workflow.defn
class Paying(PydanticAIWorkflow):
    """Asks it."""

    __pydantic_ai_agents__ = (paying,)

    @workflow.run
    async def run(self, prompt: str) -> str:
        """Return the answer."""
        return (await paying.run(prompt)).output
