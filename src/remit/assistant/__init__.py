"""Assistant: an MCP server by which a person's assistant looks at tasks, and where the person allows it submits jobs.

- An assistant is not a person. It asks with the session of whoever started the server, and nothing that a person
  decides is among its tools: it approves, rejects, revokes, suspends, reinstates and resumes nothing.
- Submitting signs a delegation with the person's key, so text that an assistant read somewhere could hand out that
  person's authority. It is off unless the person starts the server with ``--submit``. Then a job is checked as
  `remit submit` checks it, and every step of it as any step: policies, approvals and revocation stand above it.
- What tasks, tools and other people wrote is data: it is returned in structured answers, escaped as the terminal
  escapes it, bounded, and said to be untrusted.
- It speaks over stdio alone: a port, even a local one, would let whoever reaches it act as this person.

Needs the extra ``mcp``; only `remit.assistant.server` imports it.
"""

from __future__ import annotations
