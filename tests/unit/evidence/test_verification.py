"""An export holds as it was made, and nothing of it can be changed, dropped, moved or forged unseen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from remit.errors import InvalidDocument, Usage
from remit.evidence import document, history
from remit.evidence.history import digest
from remit.principals import Principal
from remit.statements import Event
from tests.unit.documents import NOW, agent, chain, link, signer, token, user, uuid
from tests.unit.evidence.making import (
    REINSTATED,
    RUN,
    SUSPENDED,
    approval,
    approved,
    bound_to,
    codes,
    events,
    facts,
    first_script,
    head,
    held,
    jwks,
    rewritten,
    seal_of,
    sound,
    statement,
    trusted,
    verified_export,
    written,
)

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = (
    "eventId", "activityTaskScheduledEventAttributes", "activityTaskCompletedEventAttributes", "scheduledEventId",
    "header", "fields", "remit", "remit-approvals", "markerRecordedEventAttributes", "details", "data", "result",
    "payloads", "workflowTaskFailedEventAttributes", "baseRunId", "workflowExecutionSignaledEventAttributes",
)  # fmt: skip


def records(export: dict[str, Any], writer: int = 0) -> list[str]:
    found: list[str] = export["writers"][writer]["records"]
    return found


def edited(line: str, **changes: Any) -> str:
    return json.dumps(json.loads(line) | changes, separators=(",", ":"))


class TestAsItWasMade:
    def test_everything_holds(self) -> None:
        report = verified_export(sound())
        assert report.findings == ()
        assert (report.counted["records"], report.counted["permitted"], report.counted["writers"]) == (10, 3, 2)

    def test_with_the_history_from_temporal(self) -> None:
        assert codes(sound(), histories=[events(seal_of(sound()))]) == []

    def test_a_history_that_went_on_meanwhile(self) -> None:
        later = [*events(seal_of(sound())), {"eventId": "100"}]
        assert codes(sound(), histories=[later]) == []

    def test_it_reads_as_it_is_written(self) -> None:
        assert document.read(json.dumps(sound()).encode()).document() == sound()

    def test_what_whoever_exports_says_of_himself_is_not_verified(self) -> None:
        assert codes(sound() | {"by": "anybody", "exported_at": 0, "keys": {}, "policy_sets": [], "children": []}) == []


class TestRecords:
    @pytest.mark.parametrize("writer", [0, 1])
    def test_one_that_is_edited(self, writer: int) -> None:
        for at in range(len(records(sound(), writer))):
            export = sound()
            lines = records(export, writer)
            last = at == len(lines) - 1
            lines[at] = edited(lines[at], tool="another")
            assert codes(export) == ["truncated" if last else "edited"], at

    def test_one_that_is_dropped(self) -> None:
        for at in range(len(records(sound())) - 1):
            export = sound()
            del records(export)[at]
            assert "dropped" in codes(export), at

    def test_the_last_ones_cut_off(self) -> None:
        for left in range(1, len(records(sound()))):
            export = sound()
            del records(export)[left:]
            assert "truncated" in codes(export), left

    def test_two_that_changed_places(self) -> None:
        export = sound()
        lines = records(export)
        lines[2], lines[4] = lines[4], lines[2]
        assert codes(export) == ["reordered"]

    def test_one_that_stands_twice(self) -> None:
        export = sound()
        records(export).insert(1, records(export)[1])
        assert codes(export) == ["repeated"]

    def test_a_whole_writer_cut_off_that_a_run_was_sealed_by(self) -> None:
        export = sound()
        del export["writers"][1]
        assert codes(export) == ["writer-missing"]

    def test_another_tasks_record(self) -> None:
        export = sound()
        records(export)[0] = edited(records(export)[0], task="task-2")
        assert {"edited", "dropped"} <= set(codes(export))

    @pytest.mark.parametrize("line", ["", "[]", "{", '{"a":1,"a":1}', '{"task_seq":1}', '{"task_seq":true,"time":1}'])
    def test_what_is_no_record(self, line: str) -> None:
        export = sound()
        records(export)[3] = line
        assert "edited" in codes(export)

    @unhurried
    @given(some.data())
    def test_no_character_of_any_record_can_change(self, data: some.DataObject) -> None:
        export = sound()
        lines = records(export, writer := data.draw(some.sampled_from([0, 1]), label="writer"))
        at = data.draw(some.integers(0, len(lines) - 1), label="record")
        place = data.draw(some.integers(0, len(lines[at]) - 1), label="place")
        other = data.draw(some.characters(codec="utf-8").filter(lambda one: one != lines[at][place]), label="other")
        lines[at] = lines[at][:place] + other + lines[at][place + 1 :]
        assert set(codes(export)) & {"edited", "dropped", "truncated"}, (writer, lines[at])

    @unhurried
    @given(some.data())
    def test_no_other_list_of_the_same_records(self, data: some.DataObject) -> None:
        export = sound()
        lines = records(export)
        changed = data.draw(some.lists(some.sampled_from(lines), max_size=len(lines) + 2), label="records")
        export["writers"][0]["records"] = changed
        assert bool(codes(export)) == (changed != lines)


class TestHeads:
    def test_without_one_nobody_knows_what_was_cut_off(self) -> None:
        export = sound()
        export["writers"][0]["head"] = None
        assert codes(export) == ["unsealed"]

    def test_another_writers(self) -> None:
        export = sound()
        export["writers"][0]["head"] = export["writers"][1]["head"]
        assert codes(export) == ["head"]

    def test_leaves_that_were_not_signed(self) -> None:
        export = sound()
        export["writers"][0]["head"]["leaves"].append("x")
        assert codes(export) == ["leaves"]

    @pytest.mark.parametrize(
        ("by", "changes"),
        [("alice", {}), ("nobody", {}), ("authority", {"iss": "spiffe://other/authority"}), ("authority", {"more": 1})],
    )
    def test_one_that_is_not_the_authoritys(self, tmp_path: Any, by: str, changes: dict[str, Any]) -> None:
        from remit.audit import AuditLog

        export = sound()
        log = AuditLog(tmp_path, clock=lambda: NOW)
        log.append(facts(1, "refused"))
        forged = head(log, by=by, **changes)
        log.close()
        export["writers"][0]["head"] = {"head": forged.head, "leaves": list(forged.leaves)}
        assert codes(export) == ["head"]

    def test_a_seal_that_is_forged(self) -> None:
        export = sound()
        seal_of(export)["head"] = token({"iss": "x"}, typ="audit-head+jwt", by=signer("alice"))
        assert codes(export) == ["seal"]

    def test_a_seal_about_another_record(self) -> None:
        export = sound()
        seal_of(export)["seq"] = 7
        assert codes(export) == ["seal"]


class TestKeys:
    def test_those_in_the_export_are_not_trusted(self) -> None:
        export = sound()
        names = {user(name).spiffe_id: f"evil-{name}" for name in ("alice", "bob", "carol")}
        evil = {"keys": [one for one in jwks()["keys"] if one["sub"] not in names]}
        evil["keys"] += [{**signer(key).key.jwk, "sub": name} for name, key in names.items()]
        export["keys"] = evil
        export["approvals"] = [approval(key="evil-bob")]
        assert codes(export) == ["approval", "approval-missing"]

    def test_other_keys_verify_nothing(self) -> None:
        other = {"keys": [{**signer("else").key.jwk, "sub": "spiffe://remit.local/authority"}]}
        from remit.evidence import keys

        found = codes(sound(), keys=keys.read(json.dumps(other).encode()))
        assert {"head", "seal", "chain", "approval", "statement"} <= set(found)


class TestChains:
    def test_a_link_that_was_swapped(self) -> None:
        export = sound()
        export["chains"][held().leaf.jti] = chain(
            1, edit=lambda claims: claims["authorization_details"][0].update(budget=9)
        )
        assert codes(export) == ["chain-missing"]

    def test_a_link_that_somebody_else_signed(self) -> None:
        export = sound()
        export["chains"][held().leaf.jti] = chain(1, by=signer("carol"))
        assert codes(export) == ["chain", "chain-missing"]

    def test_a_link_of_another_chain_before_it(self) -> None:
        export = sound()
        export["chains"][held().leaf.jti] = [chain(2)[1], *held().jws]
        assert codes(export) == ["chain", "chain-missing"]

    def test_one_that_is_left_out(self) -> None:
        export = sound()
        export["chains"] = {}
        assert "chain-missing" in codes(export)

    def test_one_under_another_name(self) -> None:
        export = sound()
        export["chains"] = {uuid(1): list(held().jws)}
        assert codes(export) == ["chain", "chain-missing"]

    def test_a_permit_after_it_expired(self) -> None:
        late = [(at + 4000, one) for at, one in first_script()]
        assert "chain" in codes(rewritten(late))

    def test_a_permit_for_what_it_does_not_hold(self) -> None:
        script = [
            *first_script(),
            (270, facts(5, "permitted", grant=15, action="http:request")),
            (271, facts(5, "ok", grant=15)),
        ]
        assert codes(rewritten(script)) == ["scope"]

    def test_a_record_that_names_somebody_else(self) -> None:
        script = [*first_script(), (270, facts(5, "permitted", grant=15, root="x")), (271, facts(5, "ok", grant=15))]
        assert codes(rewritten(script)) == ["chain"]


class TestApprovals:
    def test_one_that_is_left_out(self) -> None:
        assert codes(sound() | {"approvals": []}) == ["approval-missing"]

    def test_one_that_was_changed(self) -> None:
        head, body, signature = approval().split(".")
        changed = f"{head}.{body[:-4]}AAAA.{signature}"
        assert codes(sound() | {"approvals": [changed]}) == ["approval", "approval-missing"]

    @pytest.mark.parametrize(
        "other",
        [
            {"decision": "reject"},
            {"binding": bound_to(held())[:-1] + "A"},
            {"request": "A" * 16},
            {"exp": NOW - 40, "iat": NOW - 100},
            {"iat": NOW + 90, "exp": NOW + 100},
            {"aud": "remit:other"},
        ],
        ids=lambda other: next(iter(other)),
    )
    def test_one_of_something_else_under_the_same_id(self, other: dict[str, Any]) -> None:
        assert codes(sound() | {"approvals": [approval(**other)]}) == ["approval"]

    def test_one_by_the_root_human(self) -> None:
        assert codes(sound() | {"approvals": [approval(by="alice")]}) == ["approval"]

    def test_one_that_somebody_else_signed(self) -> None:
        assert codes(sound() | {"approvals": [approval(key="carol")]}) == ["approval", "approval-missing"]

    def test_a_permit_that_names_none(self) -> None:
        assert codes(rewritten(first_script(approvals=[]))) == ["approval-missing"]

    def test_a_permit_that_does_not_say_what_was_approved(self) -> None:
        assert codes(rewritten(first_script(binding=None))) == ["approval"]

    def test_a_permit_of_another_step(self) -> None:
        assert codes(rewritten(first_script(step=9))) == ["approval"]

    def test_two_of_one_person(self) -> None:
        both = [{"id": uuid(2001), "by": "x"}, {"id": uuid(2002), "by": "x"}]
        export = rewritten(first_script(approvals=both)) | {"approvals": [approval(1), approval(2)]}
        assert codes(export) == ["approval"]

    def test_one_that_two_steps_used(self) -> None:
        again = approved("permitted", grant=uuid(15), run="run-2"), approved("ok", grant=uuid(15))
        script = [*first_script(), (270, again[0]), (271, again[1])]
        assert codes(rewritten(script)) == ["approval-used"]

    def test_one_by_somebody_who_was_stopped(self) -> None:
        export = sound()
        gone = statement(5, Event.REVOKED, NOW - 500, by="carol", about=Principal("remit.local", "user", "bob"))
        export["statements"].append({"jws": gone, "confirmed": True, "staff": False})
        assert codes(export) == ["approval"]


class TestStatements:
    def test_a_permit_while_one_was_in_force(self) -> None:
        export = sound()
        del export["statements"][1]
        assert codes(export) == ["stopped"]

    def test_one_that_a_record_felt_cannot_be_left_out(self) -> None:
        assert codes(sound() | {"statements": []}) == ["statement-missing"]

    def test_one_that_no_record_felt_can(self) -> None:
        """What nobody felt and no record names leaves no trace in an export: this is not proven."""
        export = sound()
        export["statements"].append({"jws": statement(6, Event.REVOKED, NOW + 390), "confirmed": False, "staff": False})
        assert codes(export) == []
        del export["statements"][2]
        assert codes(export) == []

    @pytest.mark.parametrize(("before", "found"), [(31, ["stopped"]), (30, ["stopped"]), (29, [])])
    def test_two_clocks_may_differ(self, before: int, found: list[str]) -> None:
        export = sound()
        again = {"jws": statement(7, Event.SUSPENDED, NOW + 260 - before), "confirmed": True, "staff": False}
        export["statements"].append(again)
        assert codes(export) == found

    def test_one_by_somebody_who_could_not_make_it(self) -> None:
        export = sound()
        idle = statement(8, Event.REVOKED, NOW - 200, by="carol")
        export["statements"].append({"jws": idle, "confirmed": False, "staff": False})
        assert codes(export) == []
        export["statements"][2]["confirmed"] = True
        assert codes(export) == ["stopped"]

    @pytest.mark.parametrize(("staff", "found"), [(False, ["stopped"]), (True, [])])
    def test_only_staff_undoes_what_others_stated(self, staff: bool, found: list[str]) -> None:
        export = sound()
        paused = statement(10, Event.SUSPENDED, SUSPENDED, by="carol")
        export["statements"].append({"jws": paused, "confirmed": True, "staff": True})
        assert codes(export) == ["stopped"], "alice's reinstatement lifts her own suspension alone"
        lifted = statement(11, Event.REINSTATED, REINSTATED, by="bob")
        export["statements"].append({"jws": lifted, "confirmed": True, "staff": staff})
        assert codes(export) == found

    def test_one_about_the_agent(self) -> None:
        export = sound()
        gone = statement(9, Event.REVOKED, NOW - 200, by="carol", about=agent("agent-0"))
        export["statements"].append({"jws": gone, "confirmed": True, "staff": False})
        assert codes(export) == ["stopped"]

    def test_one_that_is_forged(self) -> None:
        export = sound()
        head, body, _ = export["statements"][0]["jws"].split(".")
        export["statements"][0]["jws"] = ".".join((head, body, statement(1, Event.REVOKED, NOW).split(".")[2]))
        assert codes(export) == ["statement", "statement-missing"]


class TestEnds:
    def test_a_permit_without_an_end(self) -> None:
        assert codes(rewritten([*first_script(), (270, facts(5, "permitted", grant=15))])) == ["unended"]

    def test_an_end_without_a_permit(self) -> None:
        assert codes(rewritten([*first_script(), (270, facts(5, "ok", grant=15))])) == ["unbegun"]

    def test_a_grant_that_was_permitted_twice(self) -> None:
        again = [(270, facts(5, "permitted", grant=15)), (271, facts(5, "permitted", grant=15))]
        assert codes(rewritten([*first_script(), *again, (272, facts(5, "ok", grant=15))])) == ["repeated"]


class TestHistory:
    def test_one_that_was_changed(self) -> None:
        other = events(seal_of(sound()))
        other[0]["eventId"] = "7"
        assert codes(sound(), histories=[other]) == ["history"]

    def test_one_that_was_cut_off(self) -> None:
        assert codes(sound(), histories=[events(seal_of(sound()))[:-1]]) == ["history"]

    def test_a_step_that_completed_without_a_record(self) -> None:
        run = events(seal_of(sound()), steps=(1, 2, 5))
        export = sound()
        export["history"][0] |= {"events": len(run), "digest": digest(run)}
        assert codes(export, histories=[run]) == ["record-missing"]

    def test_a_step_that_a_reset_took_over(self) -> None:
        run = events(seal_of(sound()))
        run.insert(4, {"eventId": "5", "workflowTaskFailedEventAttributes": {"baseRunId": RUN, "newRunId": "run-2"}})
        export = sound()
        export["history"][0] |= {"run_id": "run-2", "events": len(run), "digest": digest(run)}
        assert codes(export, histories=[run]) == []
        del run[4]
        export["history"][0] |= {"events": len(run), "digest": digest(run)}
        assert codes(export, histories=[run]) == ["record-missing"]

    def test_a_seal_that_the_export_does_not_show(self) -> None:
        export = sound()
        run = events(seal_of(export))
        export["history"][0]["seal"] = None
        assert codes(export, histories=[run]) == ["history"]

    def test_records_of_an_earlier_moment_are_complete_until_then(self, tmp_path: Any) -> None:
        """An export cut back to an earlier sealed state holds by itself; Temporal's history names what it lacks."""
        export = sound()
        early = written(tmp_path, first_script()[:2])
        assert early.head is not None
        sealed = {"head": early.head.head, "leaves": list(early.head.leaves)}
        export["writers"][0] = {"writer": early.writer, "records": list(early.records), "head": sealed}
        assert codes(export) == []
        assert codes(export, histories=[events(seal_of(sound()))]) == ["record-missing"]

    @unhurried
    @given(some.data())
    def test_whatever_stands_in_one_is_a_finding_and_no_failure(self, data: some.DataObject) -> None:
        anything = some.recursive(
            some.none() | some.integers(-9, 9) | some.text(max_size=3),
            lambda inner: (
                some.lists(inner, max_size=2) | some.dictionaries(some.sampled_from(NAMES), inner, max_size=3)
            ),
        )
        run = data.draw(some.lists(some.dictionaries(some.sampled_from(NAMES), anything, max_size=4), max_size=3))
        given = history.read(json.dumps({"events": run}).encode())
        assert codes(sound(), histories=[given]) == ["history"]
        export = sound()
        export["history"][0] |= {"events": len(given), "digest": digest(given), "seal": history.seal(given)}
        assert set(codes(export, histories=[given])) <= {"seal", "record-missing"}
        assert all(isinstance(one, str) for one in (*history.approvals(given), *history.children(given)))

    @pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"events": [1]}', b'{"events": {}}', b"\xff"])
    def test_what_is_no_history(self, data: bytes) -> None:
        with pytest.raises(Usage) as refused:
            history.read(data)
        assert refused.value.code == "history.invalid"


class TestForm:
    @pytest.mark.parametrize(
        "change",
        [
            {"format": "remit-audit-export/2"}, {"task": 1}, {"more": 1}, {"writers": {}}, {"writers": [1]},
            {"writers": [{"writer": "x", "records": [1], "head": None}]}, {"chains": []}, {"chains": {"a": "b"}},
            {"approvals": [1]}, {"statements": [{"jws": "x"}]}, {"history": [{"run_id": "x"}]}, {"exported_at": 1.5},
            {"history": [{"run_id": "x", "events": -1, "digest": "", "seal": None}]}, {"actions": {"a": [1]}},
        ],
    )  # fmt: skip
    def test_what_is_malformed_is_refused_whole(self, change: dict[str, Any]) -> None:
        with pytest.raises(InvalidDocument) as refused:
            verified_export(sound() | change)
        assert refused.value.code == "evidence.format"

    @pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"format":"remit-audit-export/1"}'])
    def test_what_is_no_export(self, data: bytes) -> None:
        with pytest.raises(InvalidDocument) as refused:
            document.read(data)
        assert refused.value.code == "evidence.format"

    def test_an_export_is_known_by_its_first_member(self) -> None:
        assert document.is_export(json.dumps(sound()).encode())
        assert not document.is_export(b'{"links": []}')

    @unhurried
    @given(some.data())
    def test_no_signed_document_of_it_can_change(self, data: some.DataObject) -> None:
        export = sound()
        places = [(export["approvals"], 0), (export["chains"][held().leaf.jti], 0)]
        places += [(export["writers"][0]["head"], "head"), (export["statements"][0], "jws"), (seal_of(export), "head")]
        where, name = data.draw(some.sampled_from(places))
        text = where[name]
        place = data.draw(some.integers(0, len(text) - 1))
        where[name] = text[:place] + data.draw(some.characters(codec="ascii")) + text[place + 1 :]
        assert bool(codes(export)) == (where[name] != text)


class TestFindings:
    def test_each_says_where(self) -> None:
        export = sound()
        records(export)[1] = edited(records(export)[1], tool="another")
        (found,) = verified_export(export).document()["findings"]
        assert found["code"] == "evidence.edited"
        assert (found["writer"], found["record"], found["step"]) == (export["writers"][0]["writer"], 2, 1)

    def test_the_digest_is_over_canonical_json(self) -> None:
        assert history.digest([{"b": 1, "a": 2}]) == history.digest([{"a": 2, "b": 1}]) != history.digest([{"a": 2}])

    def test_trusted_keys_name_the_audience(self) -> None:
        assert trusted().audience == "remit:remit.local"
        assert (SUSPENDED, REINSTATED) == (NOW + 100, NOW + 200)
        assert link(0)["sub"] == held().root.spiffe_id


@pytest.mark.parametrize("name", ["event", "outcome", "code", "digest", "grant", "approvals", "approval", "binding"])
@pytest.mark.parametrize("value", [7, True, "x", [], {}, [None], ["x"], [{}], [{"id": 7}], {"a": 1}], ids=repr)
def test_a_record_of_other_types_is_a_finding_and_no_failure(name, value):
    export = sound()
    records = export["writers"][0]["records"]
    records[-1] = json.dumps(json.loads(records[-1]) | {name: value})
    assert codes(export)


@pytest.mark.parametrize("value", [None, 7, "x", [], {}, [None], {"payloads": 7}, {"payloads": [7]}], ids=repr)
@pytest.mark.parametrize(
    ("at", "name"),
    [(0, "eventId"), (0, "activityTaskScheduledEventAttributes"), (1, "activityTaskCompletedEventAttributes"),
     (-1, "markerRecordedEventAttributes")],
)  # fmt: skip
def test_a_history_of_other_types_is_no_failure(at, name, value):
    export = sound()
    run = events(seal_of(export))
    run[at][name] = value
    export["history"][0]["digest"] = digest(run)
    assert type(codes(export, histories=[run])) is list
