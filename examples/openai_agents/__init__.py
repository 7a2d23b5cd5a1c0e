"""An agent of the OpenAI Agents SDK, run by `temporalio-openai-agents`, governed."""
