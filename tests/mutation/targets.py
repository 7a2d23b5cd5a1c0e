"""What is mutated, and the tests that must notice: a module of `remit`, then files and folders under tests."""

from __future__ import annotations

TARGETS: dict[str, tuple[str, ...]] = {
    "approvals": ("unit/test_approvals.py",),
    "statements": ("unit/test_statements.py",),
    "presentation": ("unit/test_presentation.py",),
    "policy.engine": ("unit/policy", "policies"),
    "policy.asking": ("unit/policy", "policies"),
    "policy.entities": ("unit/policy", "policies"),
    "policy.rules": ("unit/policy", "policies"),
    "policy.delegable": ("unit/policy", "policies"),
    "approving": ("unit/test_approving.py",),
    "deciding": ("unit/test_deciding.py",),
    "step": ("unit/test_step.py",),
    "standing": ("unit/test_standing.py",),
    "credentials.mint": ("unit/credentials",),
    "credentials.ending": ("unit/credentials",),
    "destroying": ("unit/test_destroying.py",),
    "chains": ("unit/test_chains.py",),
    "vault.steps": ("unit/vault/test_steps.py",),
    "vault.paths": ("unit/vault/test_paths.py",),
    "principals": ("unit/test_principals.py",),
    "chain": ("unit/test_chain.py",),
    "delegation": ("unit/test_delegation.py", "unit/test_chain.py"),
    "jose": ("unit/test_jose.py",),
    "claims": ("unit/test_delegation.py", "unit/test_approvals.py", "unit/test_statements.py"),
    "strictjson": ("unit/test_strictjson.py",),
}
