"""Variables FOREBAY_…: a misspelt setting starts nothing, what others may have set stops nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from forebay.domain.errors import InputError
from forebay.environment import OF_TESTS, PREFIX, check_names
from forebay.settings import Settings, load_settings
from tests.unit.test_cli import files, forebay  # noqa: F401

SETTINGS = [name.upper() for name in Settings.model_fields]
ROOT = Path(__file__).resolve().parents[2]
MISSPELT = {
    "DATABSE_URL": "DATABASE_URL",
    "OPEN_READNG": "OPEN_READING",
    "LINK_SECRET": "LINK_SECRETS",
    "WORKLOAD": "WORKLOADS",
    "open_readng": "OPEN_READING",
}
OF_OTHERS = ("SERVICE_HOST", "PORT", "PORT_8080_TCP_ADDR", "LONG", "TRACES")


@pytest.mark.parametrize("name", MISSPELT)
def test_a_misspelt_setting_is_refused_with_the_one_that_was_meant(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + name, "canary")
    with pytest.raises(InputError, match=rf"{name.upper()}: did you mean {PREFIX}{MISSPELT[name]}\?") as refused:
        load_settings()
    assert "canary" not in str(refused.value)


def test_what_others_set_is_neither_refused_nor_warned_of(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    sources = tmp_path / "sources.yaml"
    sources.write_text("sources: [{name: jira, kind: jira, secrets: [FOREBAY_WEBHOOK_SECRET]}]")
    ours = dict.fromkeys([PREFIX + name for name in (*OF_OTHERS, *SETTINGS, "WEBHOOK_SECRET")], "")
    check_names(SETTINGS, ours | {"PATH": "", "OTHER_OPEN_READNG": ""}, sources)
    assert caplog.messages == []
    with pytest.raises(InputError):
        check_names(SETTINGS, ours, None)
    check_names(SETTINGS, {PREFIX + "JIRA_WEBHOOK_SECRET": ""}, tmp_path / "not there")
    assert "FOREBAY_JIRA_WEBHOOK_SECRET, which is no setting" in caplog.text


def test_the_command_line_says_so(files: Path, forebay, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("FOREBAY_DATABSE_URL", "sqlite:///other.db")
    code, out, error = forebay("status")
    assert (code, out) == (2, "")
    assert error == (
        "forebay: environment: there is no setting FOREBAY_DATABSE_URL: did you mean FOREBAY_DATABASE_URL?\n"
    )


def test_every_variable_that_the_repository_reads_is_known() -> None:
    places = ["Makefile", *(p for d in ("benchmarks", "deployments", "tests") for p in (ROOT / d).rglob("*.py"))]
    read = r"(?:environ(?:\.get\(|\[)|getenv\()\"FOREBAY_(\w+)\"|\$\$?\{?FOREBAY_(\w+)|^\tFOREBAY_(\w+)="
    found = {name for p in places for names in re.findall(read, (ROOT / p).read_text(), re.M) for name in names if name}
    assert found >= {"LONG", "API_EXAMPLES", "TRACES"}
    assert found <= {*SETTINGS, *OF_TESTS}
