"""What the service's agents can do: planning, and tools that each name their action, resource and credential."""
