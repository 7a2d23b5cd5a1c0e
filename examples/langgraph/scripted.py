"""A model that plays a script: no network, the same calls every time.

- A script is a list of turns; a turn is the tool calls the model makes at once. After the last one it answers with
  what each call gave it, as JSON.
- Where in its script it is, it reads off the conversation, so that a retried request is answered the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool

from examples.scenario import CALLS, PROMPT, Call

Script = Sequence[Sequence[Call]]


def scenario(prompt: str) -> Script:
    """Return the script of the scenario's prompt; any other gets an answer at once."""
    return [[call] for call in CALLS] if prompt == PROMPT else []


class Scripted(BaseChatModel):
    """Plays the script of what it is first asked.

    Args:
        script: From the first human message to the script.
    """

    script: Callable[[str], Script] = scenario

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[BaseTool | Any], **_: Any) -> Scripted:
        """Take note of nothing: its script says what it calls."""
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages))])

    def _next(self, messages: list[BaseMessage]) -> AIMessage:
        script = self.script(next((str(one.content) for one in messages if isinstance(one, HumanMessage)), ""))
        turn = sum(isinstance(one, AIMessage) for one in messages)
        if turn < len(script):
            calls = [
                {"name": call.tool, "args": dict(call.arguments), "id": f"call-{turn}-{place}"}
                for place, call in enumerate(script[turn])
            ]
            return AIMessage("", tool_calls=calls)
        return AIMessage(json.dumps([one.content for one in messages if isinstance(one, ToolMessage)]))
