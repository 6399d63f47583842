"""What comes in: read within a limit, and refused unless it is JSON that can be kept."""

from __future__ import annotations

import json

from fastapi import Request

from forebay.domain.strict_json import Twice, read_json
from forebay.web.answers import Refused

TOO_DEEP = "the body is nested too deeply to be read"


async def read_body(
    request: Request, limit: int, what: str = "body", mend: str = "send the change only, without attachments"
) -> bytes:
    """The body. Raises Refused as soon as it is known to exceed `limit` bytes: by its header, else by its stream.

    `what` and `mend`: what a refusal calls it, and what it says to do.
    """
    too_large = Refused(413, f"the {what} exceeds {limit} bytes: {mend}")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


def json_text(body: bytes) -> str:
    """The body as text. Raises Refused unless it is JSON as in RFC 8259, in UTF-8, and has each field once."""
    try:
        text = body.decode()
        # What is stored is hashed, so it has to be written again: without halves of characters, without 1e999.
        json.dumps(read_json(text), ensure_ascii=False, allow_nan=False).encode()
    except UnicodeDecodeError as error:
        raise Refused(400, f"the body is not UTF-8 (byte {error.start}): send JSON in UTF-8") from error
    except UnicodeEncodeError as error:
        raise Refused(400, "the body escapes half a character (a lone surrogate such as \\ud800)") from error
    except RecursionError as error:
        raise Refused(400, TOO_DEEP) from error
    except Twice as error:
        raise Refused(400, str(error)) from error
    except ValueError as error:
        raise Refused(400, f"the body is not JSON: {error}") from error
    return text
