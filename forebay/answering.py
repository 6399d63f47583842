"""Comments and states of tickets, by the HTTP interfaces of Jira, ServiceNow, GitHub and GitLab.

At least once: where a comment may have been made before (a second attempt), it is looked for by its marker first.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from forebay.domain.answer import Answer
from forebay.domain.errors import InputError, OutsideError
from forebay.domain.outbox import Message, worth_repeating
from forebay.domain.source import TicketAnswer, TicketSource

if TYPE_CHECKING:
    import urllib3

# Up to four calls a comment: they must end within the outbox's claim.
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 2, 10
Send = Callable[[Message], None]
Talk = Callable[["Desk", Answer, bool], None]


def answer_outlets(sources: tuple[TicketSource, ...], environment: Mapping[str, str]) -> dict[str, Send]:
    """By outlet, for each source that is answered. Raises InputError for a token that is not set or cannot be sent."""
    outlets: dict[str, Send] = {}
    for source in sources:
        if source.answer is None:
            continue
        token = environment.get(source.answer.token)
        if not token:
            raise InputError(f"source {source.name}: answer.token names a variable that is not set")
        # Found only as it is sent, it would be quoted by what fails then, down to the audit log.
        if not token.isprintable() or not (source.answer.user or token.isascii()):
            names = "answer.token names a variable whose value no header can carry"
            raise InputError(f"source {source.name}: {names}: is a line end in it?")
        outlets[f"answer {source.name}"] = _outlet(Desk(source.name, source.answer, token), TALKS[source.kind])
    return outlets


def _outlet(desk: Desk, talk: Talk) -> Send:
    def send(message: Message) -> None:
        # One that a person sends once more counts its attempts anew, and keeps its failure.
        again = message.attempts > 1 or message.failure is not None
        talk(desk, Answer.model_validate_json(message.body), again)

    return send


class Desk:
    """Calls one ticketing system. Redirects are not followed: the token is for this address only."""

    def __init__(self, name: str, config: TicketAnswer, token: str) -> None:
        self.name, self.config = name, config
        user = config.user
        basic = base64.b64encode(f"{user}:{token}".encode()).decode()
        self._authorization = f"Basic {basic}" if user else f"Bearer {token}"
        self._secrets = (basic, token)
        self._made: urllib3.PoolManager | None = None

    def state(self, action: str) -> str | None:
        """The state or transition that the ticket is to take with this answer."""
        return self.config.states.get(action)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The answer's JSON; None where it has none. Raises OutsideError."""
        import urllib3

        if self._made is None:
            timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S)
            self._made = urllib3.PoolManager(timeout=timeout)
        headers = {"Accept": "application/json", "User-Agent": "forebay", "Authorization": self._authorization}
        if body is not None:
            headers["Content-Type"] = "application/json"
        content = None if body is None else json.dumps(body).encode()
        where = f"{self.name}: {method} {path.partition('?')[0]}"
        try:
            url = self.config.url.rstrip("/") + path
            answer = self._made.request(method, url, body=content, headers=headers, redirect=False, retries=False)
        except urllib3.exceptions.HTTPError as error:
            raise OutsideError(f"{where} was not answered: {error}", retryable=True) from error
        if not 200 <= answer.status < 300:
            later = worth_repeating(answer.status)
            raise OutsideError(f"{where} answered {answer.status}: {self._quoted(answer.data)!r}", retryable=later)
        try:
            return json.loads(answer.data) if answer.data else None
        except ValueError as error:
            raise OutsideError(f"{where} answered with something other than JSON", retryable=False) from error

    def _quoted(self, answer: bytes) -> str:
        """Its beginning. Some servers and proxies show the headers of the request in it."""
        text = answer.decode(errors="replace")
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text[:300]


def to_jira(desk: Desk, answer: Answer, again: bool) -> None:
    """REST v3: a comment in Atlassian's document format, then a transition by its name or that of its target."""
    issue = f"/rest/api/3/issue/{quote(answer.ticket, safe='')}"
    comments = f"{issue}/comment"
    known = again and answer.marker in json.dumps(desk.call("GET", f"{comments}?orderBy=-created&maxResults=100"))
    if not known:
        paragraph = {"type": "paragraph", "content": _in_lines(answer.text)}
        desk.call("POST", comments, {"body": {"type": "doc", "version": 1, "content": [paragraph]}})
    wanted = desk.state(answer.action)
    if wanted is None or desk.call("GET", f"{issue}?fields=status")["fields"]["status"]["name"] == wanted:
        return
    offered = desk.call("GET", f"{issue}/transitions")["transitions"]
    found = next((t["id"] for t in offered if wanted in (t["name"], t["to"]["name"])), None)
    if found is None:
        names = ", ".join(t["name"] for t in offered) or "none"
        raise OutsideError(f"{answer.ticket} has no transition {wanted!r} now, only: {names}", retryable=False)
    desk.call("POST", f"{issue}/transitions", {"transition": {"id": found}})


def _in_lines(text: str) -> list[dict[str, str]]:
    """Text nodes, which hold neither line ends nor nothing at all, with breaks between them."""
    nodes: list[dict[str, str]] = []
    for line in text.splitlines():
        nodes += [{"type": "hardBreak"}] if nodes else []
        nodes += [{"type": "text", "text": line}] if line else []
    return nodes


def to_servicenow(desk: Desk, answer: Answer, again: bool) -> None:
    """Table API: a work note, and the state with it. The number of a change request leads to its record."""
    table = "/api/now/table"
    # `^` separates conditions in a query; a ticket's name has none of it.
    found = desk.call(
        "GET",
        f"{table}/change_request?sysparm_query=number={quote(answer.ticket)}&sysparm_fields=sys_id&sysparm_limit=1",
    )["result"]
    if not found:
        raise OutsideError(f"{desk.name} has no change request {answer.ticket}", retryable=False)
    record = found[0]["sys_id"]
    marked = f"element_id={record}^element=work_notes^valueLIKE{quote(answer.marker, safe='')}"
    notes = f"{table}/sys_journal_field?sysparm_query={marked}"
    known = again and answer.marker in json.dumps(desk.call("GET", f"{notes}&sysparm_fields=value&sysparm_limit=10"))
    state = desk.state(answer.action)
    body = ({} if known else {"work_notes": answer.text}) | ({"state": state} if state else {})
    if body:
        desk.call("PATCH", f"{table}/change_request/{record}", body)


def to_github(desk: Desk, answer: Answer, again: bool) -> None:
    """REST: a comment, and the issue open or closed. `answer.url` is that of the repository; the ticket ends in -N."""
    issue = f"/issues/{quote(answer.ticket.rpartition('-')[2], safe='')}"
    known = again and answer.marker in json.dumps(_newest_comments(desk, issue))
    if not known:
        desk.call("POST", f"{issue}/comments", {"body": answer.text})
    if state := desk.state(answer.action):
        desk.call("PATCH", issue, {"state": state})


def _newest_comments(desk: Desk, issue: str) -> Any:
    count = desk.call("GET", issue)["comments"]
    return desk.call("GET", f"{issue}/comments?per_page=100&page={max(1, -(-count // 100))}")


def to_gitlab(desk: Desk, answer: Answer, again: bool) -> None:
    """REST v4: a note, and the issue closed or opened again. A ticket is called gitlab-PROJECT-NUMBER."""
    _, project, number = answer.ticket.rsplit("-", 2)
    issue = f"/api/v4/projects/{quote(project, safe='')}/issues/{quote(number, safe='')}"
    known = again and answer.marker in json.dumps(desk.call("GET", f"{issue}/notes?per_page=100"))
    if not known:
        # A line of a note that begins with a slash is a command, carried out with the rights of the token; and the
        # reason in an answer is whatever somebody wrote.
        text = re.sub(r"^(\s*)/", r"\1\\/", answer.text, flags=re.MULTILINE)
        desk.call("POST", f"{issue}/notes", {"body": text})
    if event := desk.state(answer.action):
        desk.call("PUT", issue, {"state_event": event})


TALKS: Mapping[str, Talk] = {
    "jira": to_jira,
    "servicenow": to_servicenow,
    "github": to_github,
    "gitlab": to_gitlab,
}
