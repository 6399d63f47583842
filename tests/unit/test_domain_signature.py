"""Signed deliveries: the window's edges, both secrets, and that any alteration is refused."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.domain.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER, BadSignature, check_signature, signed_headers

WINDOW = timedelta(seconds=300)
AT = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def test_the_signature_is_the_documented_one() -> None:
    """Worked out with hmac alone, as a sender in another language would."""
    expected = hmac.new(b"secret", b'1795512600.{"a": 1}', hashlib.sha256).hexdigest()
    headers = {TIMESTAMP_HEADER: "1795512600", SIGNATURE_HEADER: f"sha256={expected}"}
    assert signed_headers("secret", b'{"a": 1}', AT) == headers


@pytest.mark.parametrize(
    ("off", "accepted"),
    [
        pytest.param(timedelta(0), True, id="at once"),
        pytest.param(WINDOW, True, id="exactly as old as allowed"),
        pytest.param(WINDOW + MICROSECOND, False, id="a microsecond too old"),
        pytest.param(-WINDOW, True, id="exactly as early as allowed"),
        pytest.param(-WINDOW - MICROSECOND, False, id="a microsecond too early"),
    ],
)
def test_the_replay_window_has_sharp_edges(off: timedelta, accepted: bool) -> None:
    headers = signed_headers("secret", b"{}", AT)
    if accepted:
        check_signature(headers, b"{}", ["secret"], AT + off, WINDOW)
    else:
        with pytest.raises(BadSignature, match="300 s allowed"):
            check_signature(headers, b"{}", ["secret"], AT + off, WINDOW)


def test_each_valid_secret_is_accepted_and_no_other() -> None:
    for secret in ("old", "new"):
        check_signature(signed_headers(secret, b"{}", AT), b"{}", ["old", "new"], AT, WINDOW)
    with pytest.raises(BadSignature, match="does not match"):
        check_signature(signed_headers("other", b"{}", AT), b"{}", ["old", "new"], AT, WINDOW)
    with pytest.raises(BadSignature, match="does not match"):
        check_signature(signed_headers("", b"{}", AT), b"{}", [], AT, WINDOW)


@pytest.mark.parametrize("missing", [TIMESTAMP_HEADER, SIGNATURE_HEADER])
def test_an_unsigned_delivery_is_told_how_to_sign(missing: str) -> None:
    headers = signed_headers("secret", b"{}", AT)
    del headers[missing]
    with pytest.raises(BadSignature, match="not signed: send X-Forebay-Timestamp"):
        check_signature(headers, b"{}", ["secret"], AT, WINDOW)


@pytest.mark.parametrize(
    "timestamp", ["", "now", "1795512600.0", "+1795512600", "01795512600", "1_795_512_600", "\u0661"]
)
def test_a_timestamp_has_one_spelling(timestamp: str) -> None:
    headers = signed_headers("secret", b"{}", AT) | {TIMESTAMP_HEADER: timestamp}
    with pytest.raises(BadSignature, match="unix seconds"):
        check_signature(headers, b"{}", ["secret"], AT, WINDOW)


@given(body=st.binary(max_size=200), secret=st.text(st.characters(codec="utf-8"), min_size=1))
def test_what_was_signed_is_accepted(body: bytes, secret: str) -> None:
    check_signature(signed_headers(secret, body, AT), body, [secret], AT, WINDOW)


@given(timestamp=st.text(max_size=14), signature=st.text(max_size=80), body=st.binary(max_size=20))
def test_what_was_not_signed_is_refused_whatever_it_looks_like(timestamp: str, signature: str, body: bytes) -> None:
    with pytest.raises(BadSignature):
        check_signature({TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: signature}, body, ["secret"], AT, WINDOW)
