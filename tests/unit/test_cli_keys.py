"""Keys as people make them: shown once on standard output, listed, revoked."""

from __future__ import annotations

from pathlib import Path

from tests.unit.test_cli import files, forebay  # noqa: F401

WHO = ("--by", "jane", "--reason", "because")


def test_a_key_is_made_listed_and_revoked(files: Path, forebay) -> None:  # noqa: F811
    assert forebay("migrate")[0] == 0
    code, token, told = forebay("key", "create", "zoe", "--role", "viewer", "--entity", "acme", "--valid", "12h", *WHO)
    kind, key, secret = token.strip().split("_")
    assert (code, kind) == (0, "fbk")
    assert f"key {key} for zoe, valid until" in told
    listed = forebay("key", "list")[1]
    assert f"{key}  zoe  viewer of acme  valid, until" in listed and "never used" in listed
    assert secret not in listed
    assert forebay("key", "revoke", key, *WHO) == (0, f"key {key} of zoe is revoked\n", "")
    assert "revoked, until" in forebay("key", "list")[1]


def test_bad_input_makes_no_key(files: Path, forebay) -> None:  # noqa: F811
    assert forebay("migrate")[0] == 0
    code, _, error = forebay("key", "create", "zoe", "--role", "king", *WHO)
    assert code == 2 and "roles" in error and "'viewer'" in error
    for valid in ("long", "90", "-1d", "100000d"):
        assert forebay("key", "create", "zoe", "--role", "viewer", f"--valid={valid}", *WHO)[0] == 2
    assert forebay("key", "revoke", "none", *WHO)[0] == 2
    assert "there is no key" in forebay("key", "list")[1]
