"""MCP: a workflow that calls the tools of a flights server, over stdio or streamable HTTP."""
