"""An agent of the OpenAI Agents SDK, run by `temporalio-openai-agents`, governed.

Its traces stay here: the SDK would send them to its maker as soon as it finds a key in `OPENAI_API_KEY`.
"""

import os

os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"
