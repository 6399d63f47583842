"""Wrong input, as people write it: each is refused by field, value and mend, and nothing is stored."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter

from forebay.app.receive import receive
from forebay.domain.change import ChangeRequest
from forebay.domain.errors import InputError
from forebay.domain.lifecycle import BEFORE_IN_FORCE, TRANSITIONS, ChangeState, check_transition
from forebay.domain.model import Model, parse_yaml, read_duration, validate
from forebay.domain.rules import ChangeRules
from forebay.domain.workload import WorkloadCatalog
from forebay.settings import load_settings
from tests.support.world import NOW, World, a_request, a_workload, minutes

GOOD: dict[str, Any] = {
    "change": "CHG-1",
    "entity": "acme",
    "policy": "quota",
    "effective_at": "2026-11-24T12:00:00Z",
    "impacts": [{"workload": "web", "factor": 2}],
    "requested_by": "ann",
}


def impact(**fields: Any) -> dict[str, Any]:
    return {"impacts": [{"workload": "web", **fields}]}


BAD_CHANGES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "naive time": ({"effective_at": "2026-11-24T12:00:00"}, ("effective_at", "has no zone", "2026-11-24T12:00:00Z")),
    "no time": ({"effective_at": None}, ("exactly one of effective_at", "effective_in")),
    "two times": ({"effective_in": "PT2H"}, ("exactly one of effective_at",)),
    "delay without unit": (
        {"effective_at": None, "effective_in": 5},
        ("effective_in", "5 has no unit", "PT5M (5 minutes)"),
    ),
    "delay in months": (
        {"effective_at": None, "effective_in": "P3M"},
        ("effective_in", "no fixed length", "PT4M", "P3M"),
    ),
    "settle in months": ({"settle": "P1Y2M"}, ("settle", "months have no fixed length")),
    "delay backwards": ({"effective_at": None, "effective_in": "-PT5M"}, ("effective_in", "longer than zero")),
    "negative factor": (impact(factor=-1), ("impacts.0.factor", "greater than or equal to 0", "-1")),
    "NaN factor": (impact(factor=float("nan")), ("impacts.0.factor", "finite number", "nan")),
    "NaN in YAML": (impact(factor=".nan"), ("impacts.0.factor", ".nan")),
    "infinite addition": (
        impact(resource="cpu", add=float("inf"), unit="cores"),
        ("impacts.0.add", "finite number", "inf"),
    ),
    "absurd factor": (impact(factor=5000), ("impacts.0.factor", "less than or equal to 100", "5000")),
    "wrong unit": (
        impact(resource="cpu", add=2, unit="GiB"),
        ("impacts.0", "'GiB' does not measure cpu", "cores, millicores"),
    ),
    "no unit": (impact(resource="cpu", add=2), ("impacts.0", "needs its unit", "cores for cpu")),
    "no resource": (impact(add=2, unit="cores"), ("impacts.0", "one resource", "resource: cpu")),
    "unknown resource": (impact(resource="gpu"), ("impacts.0.resource", "'cpu', 'memory', 'network' or 'all'", "gpu")),
    "low above high": (impact(factor=2, low=3, high=2.5), ("impacts.0", "low 3.0 is above high 2.5", "swap")),
    "low above the factor": (impact(factor=2, low=3), ("impacts.0", "low 3.0 is above factor 2.0", "not be larger")),
    "high below the factor": (impact(factor=2, high=1), ("impacts.0", "high 1.0 is below factor 2.0")),
    "ramp without length": (impact(adoption={"shape": "ramp"}), ("impacts.0.adoption", "over: PT30M")),
    "two impacts on one": (
        {"impacts": [{"workload": "web", "factor": 2}] * 2},
        ("two impacts on web all", "join them into one"),
    ),
    "min above max": (
        {"entitlements": [{"workload": "web", "min_units": 9, "max_units": 3}]},
        ("entitlements.0", "min_units 9 is above max_units 3", "swap"),
    ),
    "an entitlement of nothing": (
        {"impacts": [], "entitlements": [{"workload": "web"}]},
        ("entitlements.0", "give min_units, max_units or both", "min_units: 0 ends one"),
    ),
    "nothing to move": ({"impacts": []}, ("at least one impact or entitlement",)),
    "no requester": ({"requested_by": ""}, ("requested_by", "at least 1 character")),
    "misspelt field": (
        {"effective_on": "tomorrow"},
        (
            "effective_on: there is no such field: did you mean effective_in?",
            "The fields are change, entity",
            "tomorrow",
        ),
    ),
    "misspelt field of an impact": (
        impact(factro=2.0),
        (
            "impacts.0.factro: there is no such field: did you mean factor? The fields are workload, resource",
            "(found 2.0)",
        ),
    ),
    "misspelt field of an adoption": (
        impact(adoption={"shap": "ramp"}),
        ("adoption.shap: there is no such field: did you mean shape? The fields are shape, over (found 'ramp')",),
    ),
    "a field of another planet": (impact(zzz=1), ("impacts.0.zzz: there is no such field. The fields are",)),
    "no duration": ({"effective_at": None, "effective_in": "3h"}, ("effective_in: this is no duration: write PT30M",)),
    "no time people write": (
        {"effective_at": "soon"},
        ("effective_at: this is no time", "such as 2026-11-24T09:00:00+01:00"),
    ),
    "a day there is not": ({"effective_at": "2026-02-30T09:00:00Z"}, ("this is no time (day value is outside",)),
    "seconds since 1970": (
        {"effective_at": 1547542800},
        ("effective_at: 1547542800 is a bare number", "with its zone"),
    ),
    "seconds as text": ({"effective_at": "1547542800.5"}, ("effective_at: 1547542800.5 is a bare number",)),
    "a date as a number": ({"effective_at": 20190115}, ("20190115 is a bare number",)),
    "an impact of a word": (
        {"impacts": ["web"]},
        ("impacts.0: write fields here, each as `name: value` (found 'web')",),
    ),
    "a name with a slash": ({"change": "../CHG"}, ("change: a name is made of A-Z, a-z", "'../CHG'")),
    "a name with a space": ({"policy": "gl obex"}, ("policy: a name is made of", "begins with a letter", "'gl obex'")),
    "a factor that is ticked": (impact(factor=True), ("impacts.0.factor: this is no number: write one",)),
    "a ceiling that is ticked": (
        {"entitlements": [{"workload": "web", "max_units": True}]},
        ("entitlements.0.max_units: this is no number",),
    ),
    "negative settle": ({"settle": "-PT1M"}, ("settle", "must not be negative", "PT5M")),
}


@pytest.mark.parametrize("name", BAD_CHANGES)
def test_a_wrong_change_is_refused_by_field_value_and_mend(name: str) -> None:
    import yaml

    fields, words = BAD_CHANGES[name]
    data = {key: value for key, value in (GOOD | fields).items() if value is not None}
    with pytest.raises(InputError) as refused:
        ChangeRequest.parse(yaml.safe_dump(data))
    for word in words:
        assert word in str(refused.value)


def test_the_change_the_rows_above_spoil_is_right() -> None:
    import yaml

    assert ChangeRequest.parse(yaml.safe_dump(GOOD)).entity == "acme"


def test_an_empty_file_is_told_what_belongs_in_it() -> None:
    with pytest.raises(InputError) as refused:
        ChangeRequest.parse("")
    assert str(refused.value).endswith("(whole): write fields here, each as `name: value` (found nothing)")


def test_a_fault_within_the_only_rule_is_told_once() -> None:
    with pytest.raises(InputError) as refused:
        validate(ChangeRules, {"rules": [{"name": "a", "entites": ["acme"]}]}, "rules.yaml")
    _, *faults = str(refused.value).splitlines()
    assert [fault.partition("?")[0] for fault in faults] == [
        "  rules.0.entites: there is no such field: did you mean entities"
    ]
    with pytest.raises(InputError, match="rules: write at least 1 here"):
        validate(ChangeRules, {"rules": []}, "rules.yaml")


TOLD: dict[str, tuple[type[Model], str, str]] = {
    "a file of something else": (ChangeRequest, "a" * 2_000_000, "(whole): write fields here, "),
    "a time without a zone": (
        ChangeRequest,
        "effective_at: 2019-01-15 09:00:00",
        "(found 2019-01-15T09:00:00)",
    ),
    "a day": (ChangeRequest, "reason: 2019-01-15", "(found 2019-01-15)"),
    "yes": (ChangeRequest, "reason: true", "(found true)"),
    "a key that is no text": (ChangeRequest, "document: {1: a}", "  document.1: a name is a text: write it in quotes"),
    "a long name of a field": (ChangeRequest, f"? {'z' * 5000}\n: 1", "zzz… (5000 characters): there is no such field"),
    "a long number": (ChangeRequest, f'effective_at: "{"1" * 5000}"', "111… (5000 characters) is a bare number"),
    "a freeze": (
        ChangeRules,
        "{rules: [{name: a}], freezes: [{cron: never, duration: PT1H, reason: x, timezon: UTC}]}",
        "  freezes.0.timezon: there is no such field: did you mean timezone?",
    ),
    "a freeze's cron": (
        ChangeRules,
        "{rules: [{name: a}], freezes: [{cron: never, duration: PT1H, reason: x}]}",
        "  freezes.0.cron: ",
    ),
    "a workload's target": (
        WorkloadCatalog,
        "workloads: [{target: {type: ecs, cluster: [x], service: y}}]",
        "  workloads.0.target.cluster: ",
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_was_found_is_told_in_short_and_as_people_write_it(name: str) -> None:
    model, text, words = TOLD[name]
    with pytest.raises(InputError) as refused:
        validate(model, parse_yaml(text, "file"), "file")
    assert words in str(refused.value)
    assert max(len(line) for line in str(refused.value).splitlines()) < 700
    assert "datetime" not in str(refused.value)


def test_a_wrong_setting_is_told_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_POLL", "10s")
    monkeypatch.setenv("FOREBAY_OIDC", '{"issuer": "x"}')
    with pytest.raises(InputError) as refused:
        load_settings()
    assert "  FOREBAY_POLL: this is no duration: write PT30M" in str(refused.value)
    assert "  FOREBAY_OIDC." in str(refused.value)


def test_what_is_no_yaml_is_refused_by_line() -> None:
    with pytest.raises(InputError, match="change file, line 2: this is not YAML or JSON"):
        ChangeRequest.parse("entity: acme\n  policy: [quota")


BAD_YAML = {
    "a date there is not": (
        "effective_at: 2026-02-30T09:00:00+01:00",
        "'2026-02-30T09:00:00+01:00' is read as timesta",
    ),
    "a month there is not": ("entity: acme\nholidays: [2019-13-01]", "line 2: '2019-13-01' is read as timestamp"),
    "a number without digits": ("x: 0b_", "'0b_' is read as int, but is none"),
    "a tag on nothing": ("x: !!int ''", "'' is read as int"),
    "a tag on another thing": ("x: !!timestamp soon", "'soon' is read as timestamp"),
    "a number nobody can write out": ("x: 0x" + "f" * 5000, "is read as int"),
    "bytes": ("document: {x: !!binary /w==}", "there is no binary in JSON"),
    "an unordered set": ("document: {x: !!set {a, b}}", "there is no set in JSON"),
    "half a character": ('reason: "\\ud800"', r"'\ud800' is read as str"),
    "no end of brackets": ("[" * 5000, "nested too deeply"),
    "a field twice": (
        "impacts:\n  - factor: 2\n    low: 1\n    factor: 4",
        "line 4: 'factor' is there twice: keep one",
    ),
    "a field twice in JSON": ('{"entity": "acme",\n "entity": "bolt"}', "line 2: 'entity' is there twice"),
}


@pytest.mark.parametrize("case", BAD_YAML)
def test_yaml_that_cannot_be_meant_is_refused_by_line(case: str) -> None:
    text, words = BAD_YAML[case]
    with pytest.raises(InputError) as refused:
        parse_yaml(text, "file")
    assert words in str(refused.value)


def test_a_merged_key_may_be_said_anew() -> None:
    text = "a: {<<: &usual {x: 1, y: 1}, x: 2}\nb: {<<: *usual, y: 3}"
    assert parse_yaml(text, "file") == {"a": {"x": 2, "y": 1}, "b": {"x": 1, "y": 3}}


def nested(path: str, value: Any) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


BAD_WORKLOADS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "min above max": (
        {"limits": {"min_units": 9, "max_units": 3, "soft": {"units": 1}}},
        ("limits", "min_units 9 is above max_units 3", "swap"),
    ),
    "no objective": ({"objectives": {}}, ("objectives", "at least one resource", "{cpu: 0.6}")),
    "objective in percent": ({"objectives": {"cpu": 60}}, ("objectives.cpu", "less than or equal to 1", "60")),
    "objective without a unit": (
        {"objectives": {"memory": 0.5}},
        ("objectives name memory", "set its size under unit"),
    ),
    "lead time without unit": ({"lead_time": 60}, ("lead_time", "60 has no unit", "PT5M")),
    "lead time in months": ({"lead_time": "P4M"}, ("lead_time", "months have no fixed length", "PT4M")),
    **{
        f"{name.rpartition('.')[2]} of days": (nested(name, "P2D"), (name, "at most a day"))
        for name in (
            "lead_time",
            "deployment.drain",
            *(f"verification.{n}" for n in ("metric_delay", "window", "patience")),
        )
    },
    "dwell of days": (
        {"limits": {"min_units": 1, "max_units": 3, "soft": {"units": 1, "dwell": "P1DT1S"}}},
        ("limits.soft.dwell", "at most a day"),
    ),
    "seasons the longest first": ({"seasons": ["P7D", "P1D"]}, ("seasons", "the shortest first", "[P1D, P7D]")),
    "a season twice": ({"seasons": ["P1D", "P1D"]}, ("seasons", "each season once")),
    "a slot that makes no day": ({"slot": "PT7M"}, ("slot", "whole slots must make a day", "PT6M or PT8M")),
    "such a slot in seconds": ({"slot": "PT95S"}, ("slot", "PT90S or PT96S")),
    "a slot longer than a day": ({"slot": "P2D", "seasons": ["P7D"]}, ("slot", "write P1D")),
    "a season within a slot": ({"seasons": ["PT8M"]}, ("two slots or more", "shorten slot")),
    "no such time zone": ({"zone": "Europe/Berln"}, ("zone", "no such time zone", "Europe/Berlin", "Europe/Berln")),
    "a continent for a time zone": ({"zone": "Europe"}, ("zone", "no such time zone")),
    "odd metric period": ({"metric_period": "PT45S"}, ("metric_period", "45 s is no period", "whole minutes")),
    "shares over one": ({"shares": {"acme": 0.7, "b": 0.6}}, ("shares add up to 1.30", "must not exceed 1")),
    "unknown target": ({"target": {"type": "vm"}}, ("target", "'vm'", "'ecs', 'asg'")),
    "negative price": ({"price": {"per_unit_hour": -1}}, ("price.per_unit_hour", "greater than or equal to 0", "-1")),
    "no step": ({"limits": {"min_units": 1, "max_units": 3, "soft": {"units": 0}}}, ("limits.soft.units", "0")),
}


@pytest.mark.parametrize("name", BAD_WORKLOADS)
def test_a_wrong_workload_is_refused_by_field_value_and_mend(name: str) -> None:
    import yaml

    fields, words = BAD_WORKLOADS[name]
    good = a_workload().model_dump(mode="json")
    with pytest.raises(InputError) as refused:
        WorkloadCatalog.parse(yaml.safe_dump({"workloads": [good | fields]}))
    for word in words:
        assert word in str(refused.value)


def test_two_workloads_of_one_target_are_refused() -> None:
    one = a_workload().model_dump(mode="json")
    abroad = one["target"] | {"region": "eu-west-3"}
    validate(WorkloadCatalog, {"workloads": [one, one | {"name": "abroad", "target": abroad}]}, "file")
    with pytest.raises(InputError, match="web and again have the same target, and each would undo what the other sets"):
        validate(WorkloadCatalog, {"workloads": [one, one | {"name": "again", "lead_time": "PT9M"}]}, "file")


def test_a_workload_that_waits_a_day_for_all_is_right() -> None:
    waits = {"lead_time": "P1D", "verification": dict.fromkeys(("metric_delay", "window", "patience"), "P1D")}
    assert a_workload(**waits).verified_after == timedelta(days=3)


DURATIONS = {
    "90m": "PT90M",
    "48h": "P2D",
    "3d": "P3D",
    "45s": "PT45S",
    "PT24H": "P1D",
    "P1DT2H": "PT26H",
    "P1Y": "P365D",
}


@pytest.mark.parametrize("text", DURATIONS)
def test_a_duration_may_be_written_short_or_as_iso_8601(text: str) -> None:
    assert read_duration(text, "--valid") == TypeAdapter(timedelta).validate_python(DURATIONS[text])


NO_DURATIONS = {
    **dict.fromkeys(("48", "", "nan", "soon", "h", "4 h", "1.5h", "PT"), "this is no duration"),
    **dict.fromkeys(("0h", "PT0S", "-PT3H"), "must be longer than zero"),
    "-3h": "this is no duration",
    "P4M": "months have no fixed length",
    "100000d": "must be at most 3660 days",
    "9999999999999d": "this is no duration",
}


@pytest.mark.parametrize("text", NO_DURATIONS)
def test_what_is_no_duration_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(InputError) as refused:
        read_duration(text, "--valid")
    assert str(refused.value).startswith(f"--valid {text!r}: {NO_DURATIONS[text]}")
    assert str(refused.value).endswith("short are 90m, 48h, 3d")


# What the rules and the store say
def test_an_unknown_workload_is_refused_and_nothing_is_stored(world: World) -> None:
    with pytest.raises(InputError, match="workload 'wbe' is not in the workloads file"):
        receive(world.ctx, a_request("wbe"))
    with world.sql.transaction() as tx:
        assert (tx.changes(), tx.audit_entries(), tx.versions("acme", "quota")) == ([], [], [])


HOUR = {"rules": [{"name": "an hour ahead", "minimum_delay": "PT1H"}]}
FAIR = {"freezes": [{"start": minutes(50), "end": minutes(90), "reason": "trade fair"}]}
DENIED: dict[str, tuple[dict[str, Any], float, tuple[str, ...]]] = {
    # rules, effective minutes from now -> words
    "past": (
        {},
        -5,
        ("2026-11-24T08:55:00+00:00 is not in the future", "effective_at after 2026-11-24T09:00:00+00:00"),
    ),
    "now": ({}, 0, ("is not in the future", "effective_at after 2026-11-24T09:00:00+00:00")),
    "under the minimum delay": (
        HOUR,
        30,
        ("is 0:30:00 away, under the minimum delay of 1:00:00", "effective_at 2026-11-24T10:00:00+00:00 or later"),
    ),
    "in a freeze": (FAIR, 60, ("falls into a freeze window", "before 2026-11-24T09:50", "2026-11-24T10:30:00+00:00")),
    "earliest legal after a freeze": (HOUR | FAIR, 30, ("effective_at 2026-11-24T10:30:00+00:00 or later",)),
    "not permitted": (
        {"rules": [{"name": "sales", "requesters": ["eve"]}]},
        60,
        ("'ann' may not ask for changes", "one of eve"),
    ),
    "no rule": ({"rules": [{"name": "tiers", "kinds": ["tier"]}]}, 60, ("no change rule covers kind 'quota'",)),
}


@pytest.mark.parametrize("name", DENIED)
def test_what_no_rule_allows_is_denied_with_what_would_pass(world: World, name: str) -> None:
    rules, after, words = DENIED[name]
    world.put_rules(**rules)
    record = receive(world.ctx, a_request(effective_at=minutes(after)))
    assert record.state is ChangeState.DENIED
    for word in words:
        assert word in record.note
    with world.sql.transaction() as tx:
        assert tx.versions("acme", "quota") == [], "a denied change brings no version"


def test_the_minimum_delay_counts_from_when_a_request_came_to_the_door(world: World) -> None:
    world.put_rules(**HOUR)
    world.clock.sleep(timedelta(minutes=2))
    assert receive(world.ctx, a_request(effective_at=minutes(60)), NOW).state is ChangeState.RECEIVED


@pytest.mark.parametrize("name", ["CHG-1", ""])
def test_a_delay_of_just_the_minimum_passes_whatever_time_goes_by_in_between(world: World, name: str) -> None:
    world.put_rules(**HOUR)
    world.clock.reading_takes = timedelta(milliseconds=1)
    record = receive(world.ctx, a_request(change=name, effective_at=None, effective_in="PT1H"))
    assert record.state is ChangeState.RECEIVED, record.note


def test_the_table_of_transitions_is_closed_and_final_states_are_final() -> None:
    for before, reachable in TRANSITIONS.items():
        for after in ChangeState:
            if after in reachable:
                check_transition("CHG-1", before, after)
            else:
                with pytest.raises(Exception, match=f"CHG-1 is {before}: it cannot become {after}"):
                    check_transition("CHG-1", before, after)
    assert set(TRANSITIONS) == set(ChangeState)
    assert {s for s, reachable in TRANSITIONS.items() if ChangeState.IN_FORCE in reachable} == BEFORE_IN_FORCE
