from __future__ import annotations

from pathlib import Path

import pytest

from remit.policy import PolicyEngine, PolicyInvalid
from tests.policies.questions import POLICIES
from tests.unit.policy.folders import folder

PLAIN = "permit (principal, action, resource);\n"


def findings(path: Path) -> list[str]:
    with pytest.raises(PolicyInvalid) as caught:
        PolicyEngine.load(path)
    error = caught.value
    assert (error.code, error.exit_status, error.retryable) == ("policy.invalid", 2, False)
    assert "\n" not in error.message
    assert all(str(finding) in error.message for finding in error.findings)
    assert error.facts()["findings"] == [str(finding) for finding in error.findings]
    return [str(finding) for finding in error.findings]


def test_the_projects_own_policies_are_clean() -> None:
    assert len(PolicyEngine.load(POLICIES).policies) == 24


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PLAIN, "extra.cedar:1: it has no @id"),
        (f"\n// a comment; with a semicolon\n{PLAIN}", "extra.cedar:3: it has no @id"),
        (f'@id("Bad Id")\n{PLAIN}', "extra.cedar:1: its @id 'Bad Id' is not a slug"),
        (f"@id\n{PLAIN}", "extra.cedar:1: its @id '' is not a slug"),
        (f'@id("quarantine")\n{PLAIN}', "guards.cedar:8: @id 'quarantine' is already used at extra.cedar:1"),
        (
            f'@id("x") @approvers("data-steward")\n{PLAIN}',
            "extra.cedar:1: @approvers stands on a policy that does not read context.approvals",
        ),
        (
            '@id("x") @approvers("data-stewart") forbid (principal, action in Action::"tool", resource)'
            " unless { context.approvals.count > 0 };",
            "extra.cedar:1: @approvers: there is no role 'data-stewart' (did you mean 'data-steward'?)",
        ),
        (
            '@id("x") @approvers("hr-team") forbid (principal, action in Action::"tool", resource)'
            " unless { context.approvals.count > 0 };",
            "extra.cedar:1: @approvers: nobody in the catalogue holds the role 'hr-team'",
        ),
        (
            '@id("x") @approvers(" , ") forbid (principal, action in Action::"tool", resource)'
            " unless { context.approvals.count > 0 };",
            "extra.cedar:1: @approvers names no role",
        ),
        (
            '@id("x") forbid (principal, action in Action::"tool", resource) unless { context.approvals.count > 0 };',
            "extra.cedar:1: it reads context.approvals but has no @approvers",
        ),
        (
            '@id("x") permit (principal, action in Action::"tool", resource) when { context.approvals.count > 0 };',
            "extra.cedar:1: a permit reads context.approvals",
        ),
        (
            '@id("x") permit (principal, action in Action::"tool", resource)'
            ' when { true && context.delegation in Role::"analyst" };',
            "extra.cedar:1: a permit asks `context.delegation in …`",
        ),
        (f'@id("x") @wait("4h")\n{PLAIN}', "extra.cedar:1: @wait stands on a policy without @approvers"),
        (f'@id("x") @ttl("soon")\n{PLAIN}', "extra.cedar:1: @ttl: 'soon' is not a span of time"),
        ('@id("x") @ttl("5m") forbid (principal, action, resource);', "extra.cedar:1: @ttl stands on a forbid"),
        (f'@id("x") @aprovers("security")\n{PLAIN}', "unknown annotation @aprovers (did you mean @approvers?)"),
        (
            '@id("x") permit (principal in Role::"analist", action, resource);',
            "extra.cedar:1: Role::\"analist\" is not in the catalogue (did you mean 'analyst'?)",
        ),
        (
            '@id("x") forbid (principal, action, resource == Dataset::"payrol");',
            "extra.cedar:1: Dataset::\"payrol\" is not in the catalogue (did you mean 'payroll'?)",
        ),
        (
            '@id("x") permit (principal == User::"mallory", action, resource);',
            'extra.cedar:1: User::"mallory" is not in the catalogue',
        ),
        (
            '@id("x") permit (principal == ?principal, action == Action::"submit", resource);',
            "extra.cedar:1: it is a template",
        ),
        (
            '@id("x") permit (principal, action == Action::"dataset:qurey", resource);',
            "extra.cedar:1: unrecognized action",
        ),
        (
            '@id("x") permit (principal, action in Action::"tool", resource) when { context.input.limit > 1 };',
            "extra.cedar:1: ",
        ),
        ('@id("x") permit (principal, action, resource) when { principal.salary > 1 };', "extra.cedar:1: "),
        (
            '@id("x")\npermit (principal, action, resource) whn { true };',
            "extra.cedar:1: invalid policy condition: whn",
        ),
        (f'@id("x") {PLAIN}\n\n@id("y") permit (principal, action, resource', "extra.cedar:4: "),
        ('@id("x") permit (principal, action, resource) when { "unclosed };', "extra.cedar:1: "),
        (f'@id("x") @id("y") {PLAIN}', "extra.cedar:1: "),
    ],
)
def test_a_finding_names_its_file_and_line(tmp_path: Path, text: str, said: str) -> None:
    assert any(said in finding for finding in findings(folder(tmp_path, extra=text))), findings(
        folder(tmp_path / "again", extra=text)
    )


def test_every_finding_is_told_at_once(tmp_path: Path) -> None:
    found = findings(folder(tmp_path, extra=f'{PLAIN}@id("x") @wait("1h") {PLAIN}', more=f'@id("x") @ttl("?") {PLAIN}'))
    assert [finding.split(":")[0] for finding in found] == ["extra.cedar", "extra.cedar", "more.cedar", "more.cedar"]


def test_every_policy_that_does_not_parse_is_told(tmp_path: Path) -> None:
    found = findings(folder(tmp_path, extra="permit (principal);\n", more="forbid everything;\n"))
    assert [finding.split(":")[:2] for finding in found] == [["extra.cedar", "1"], ["more.cedar", "1"]]


def test_no_policy_file(tmp_path: Path) -> None:
    path = folder(tmp_path)
    for file in path.glob("*.cedar"):
        file.unlink()
    assert findings(path) == ["*.cedar: there is no policy file"]


def test_an_empty_set(tmp_path: Path) -> None:
    path = folder(tmp_path)
    for file in path.glob("*.cedar"):
        file.write_text("// nothing here\n")
    assert findings(path) == ["*.cedar: there is no policy in any file"]


def test_no_folder_at_all(tmp_path: Path) -> None:
    assert "schema.cedarschema: there is no such file" in findings(tmp_path / "nowhere")[0]


def test_a_policy_never_runs_on_into_the_next_file(tmp_path: Path) -> None:
    path = folder(tmp_path, extra='@id("x") forbid (principal, action, resource)')
    (path / "f.cedar").write_text("when { false };")
    assert findings(path)


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    path = folder(tmp_path)
    (path / "extra.cedar").write_bytes(b"\xff\xfe")
    assert findings(path)[0].startswith("extra.cedar: it cannot be read")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("entity Role;", "entity Role", "schema.cedarschema: "),
        ("action tool;", "", "schema.cedarschema: "),
        ("action revoke appliesTo { principal: [User], resource: [Task] };", "", "there is no action 'revoke'"),
        ("input: { limit?: Long }", "inputs: { limit?: Long }", "action 'dataset:query' must apply to Agent and User"),
    ],
)
def test_a_schema_that_cannot_be_used(tmp_path: Path, old: str, new: str, said: str) -> None:
    schema = (POLICIES / "schema.cedarschema").read_text()
    assert old in schema
    assert any(said in finding for finding in findings(folder(tmp_path, schema=schema.replace(old, new, 1))))
