"""Benchmarks: governed against ungoverned, in one run on the embedded stack.

    python -m benchmarks [--quick] [--only NAME] [--json PATH] [--tasks N] [--revocations N]

- Governed and ungoverned rounds take turns, so that both see the same machine; what counts is the ratio of a pair.
- A figure is a median over rounds. A missed target is shown, not an error: machines differ.
"""
