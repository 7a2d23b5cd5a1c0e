"""Agents as the frameworks' own documentation shows them, governed by a plugin line and a mapping.

    python -m examples openai_agents        the scenario on a stack of its own, from permit to resume
    python -m examples.openai_agents.worker a worker for a running `remit dev`
    python -m examples.start openai_agents  starts its agent there, as alice

An example is a folder: `agent.py` (the agent and its workflow; knows nothing of Remit), `remit.toml` (the mapping),
`scripted.py` where it asks a model (the model's part, so that no network is needed) and `worker.py`, which has

- ``TASK_QUEUE``: its own, ``examples-<name>``.
- ``WORKFLOW``: the run method of the agent's workflow, or its type's name. ``ARGUMENTS``: what it is started with.
- ``plugins(parts: remit.assembly.Parts) -> list[Plugin]``: the framework's plugin, then `RemitPlugin` with the mapping.
- ``worker(client: Client) -> Worker``: the worker, with whatever the framework wants registered.
- at its end ``if __name__ == "__main__": serve(plugins, worker)``, with `examples.running.serve`.

Every agent makes the calls of `examples.scenario.CALLS`, in that order, with tools of these names, and its result
(text, or JSON) holds what each call gave: what it was told of the refused one, too. That is what `examples.acts` looks
at.
"""
