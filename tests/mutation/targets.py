"""What is mutated, and the tests that must notice: a module of `remit`, then files and folders under tests."""

from __future__ import annotations

TARGETS: dict[str, tuple[str, ...]] = {
    "approvals": ("unit/test_approvals.py",),
    "statements": ("unit/test_statements.py",),
    "presentation": ("unit/test_presentation.py",),
    "policy.engine": (
        "unit/policy/test_engine.py",
        "unit/policy/test_delegable.py",
        "unit/policy/test_lint.py",
        "policies",
    ),
    "policy.asking": ("unit/policy/test_asking.py", "unit/policy/test_engine.py"),
    "policy.entities": ("unit/policy/test_engine.py", "policies"),
    "policy.rules": ("unit/policy/test_rules.py", "unit/policy/test_asking.py", "unit/policy/test_engine.py"),
    "policy.delegable": ("unit/policy/test_delegable.py",),
    "approving": ("unit/test_approving.py",),
    "deciding": ("unit/test_deciding.py", "unit/test_approving.py"),
    "step": ("unit/test_step.py",),
    "standing": ("unit/test_standing.py",),
    "credentials.mint": ("unit/credentials/test_mint.py",),
    "credentials.ending": ("unit/credentials/test_ending.py",),
    "destroying": ("unit/test_destroying.py",),
    "chains": ("unit/test_chains.py",),
    "vault.steps": ("unit/vault/test_steps.py",),
    "vault.paths": ("unit/vault/test_paths.py",),
    "principals": ("unit/test_principals.py",),
    "chain": ("unit/test_chain.py",),
    "delegation": ("unit/test_delegation.py", "unit/test_chain.py"),
    "jose": ("unit/test_jose_keys.py", "unit/test_jose.py"),
    "claims": ("unit/test_claims.py", "unit/test_delegation.py", "unit/test_approvals.py", "unit/test_statements.py"),
    "strictjson": ("unit/test_strictjson.py",),
}
