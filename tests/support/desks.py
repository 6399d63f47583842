"""Ticketing systems that answer over HTTP on this host, and refuse whatever the real ones would refuse.

Request shapes as in the public references: Jira Cloud REST v3 (comments are documents in Atlassian's format,
transitions go by id), ServiceNow's Table API, GitHub's REST API for issues, GitLab's REST v4 (notes newest
first; a line of one that begins with a slash is a command).
"""

from __future__ import annotations

import base64
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "a token of the desk"
USER = "forebay@example.com"
Answer = tuple[int, Any]


class Wrong(Exception):
    """The request is not what the real system takes: 400."""


class Desk:
    """A server; a context manager. `die_after`: drop the connection after so many writes, which then are done."""

    authorization = f"Bearer {TOKEN}"

    def __init__(self) -> None:
        self.comments: list[str] = []
        self.state = "open"
        self.calls: list[str] = []
        self.away = False
        self.deaf_to_next_write = False
        desk = self

        class Handler(BaseHTTPRequestHandler):
            def _take(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                desk.calls.append(f"{self.command} {self.path.partition('?')[0]}")
                status, answer = desk._answer(self.command, self.path, self.headers, body)
                if desk.deaf_to_next_write and self.command != "GET":
                    desk.deaf_to_next_write = False
                    self.close_connection = True
                    self.connection.close()  # it was done, but nobody hears so
                    return
                content = b"" if answer is None else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_PUT = _take  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}{self.base}"

    base = ""

    def __enter__(self) -> Desk:
        Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def _answer(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        if self.away:
            return 503, None
        if headers["Authorization"] != self.authorization:
            return 401, {"error": "not authenticated"}
        if method != "GET" and headers["Content-Type"] != "application/json":
            return 415, None
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        try:
            sent = json.loads(body) if body else None
            return self.take(method, unquote(parts.path).removeprefix(self.base), query, sent)
        except (Wrong, ValueError, KeyError, TypeError) as error:
            return 400, {"errorMessages": [repr(error)]}

    def take(self, method: str, path: str, query: dict[str, str], sent: Any) -> Answer:
        raise AssertionError


def need(condition: bool, what: str) -> None:
    if not condition:
        raise Wrong(what)


def only(sent: Any, *fields: str) -> None:
    need(isinstance(sent, dict) and len(sent) > 0 and set(sent) <= set(fields), f"fields {sent!r}")


class Jira(Desk):
    authorization = "Basic " + base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()

    def take(self, method: str, path: str, query: dict[str, str], sent: Any) -> Answer:
        found = re.fullmatch(r"/rest/api/3/issue/([A-Z]+-\d+)(/comment|/transitions)?", path)
        if found is None or found[1] != "OPS-12":
            return 404, {"errorMessages": ["Issue does not exist or you do not have permission to see it."]}
        offered = [{"id": "31", "name": "Finish", "to": {"name": "Done"}}] if self.state != "Done" else []
        match method, found[2]:
            case "GET", None:
                need(query == {"fields": "status"}, "fields")
                return 200, {"key": found[1], "fields": {"status": {"name": self.state}}}
            case "GET", "/comment":
                need(query.get("orderBy") == "-created", "newest first")
                return 200, {"comments": [{"body": json.loads(c)} for c in reversed(self.comments)]}
            case "POST", "/comment":
                only(sent, "body")
                check_adf(sent["body"])
                self.comments.append(json.dumps(sent["body"]))
                return 201, {"id": "10000"}
            case "GET", "/transitions":
                return 200, {"transitions": offered}
            case "POST", "/transitions":
                only(sent, "transition")
                need(sent["transition"] in [{"id": t["id"]} for t in offered], "no such transition now")
                self.state = "Done"
                return 204, None
        return 405, None


def check_adf(document: Any) -> None:
    """The root is a doc of version 1, blocks within are paragraphs, of lines and breaks."""
    need(set(document) == {"type", "version", "content"}, "doc fields")
    need(document["type"] == "doc" and document["version"] == 1, "doc version 1")
    for block in document["content"]:
        need(set(block) == {"type", "content"} and block["type"] == "paragraph", "paragraph")
        for node in block["content"]:
            if node != {"type": "hardBreak"}:
                need(set(node) == {"type", "text"} and node["type"] == "text", "text")
                need(bool(node["text"]) and "\n" not in node["text"], "text of one line")


class ServiceNow(Desk):
    authorization = Jira.authorization
    record = "46e2fee9a9fe19810049b49dee0daf58"

    def take(self, method: str, path: str, query: dict[str, str], sent: Any) -> Answer:
        match method, path:
            case "GET", "/api/now/table/change_request":
                known = query["sysparm_query"] == "number=CHG0030012"
                return 200, {"result": [{"sys_id": self.record}] if known else []}
            case "GET", "/api/now/table/sys_journal_field":
                element, name, value = query["sysparm_query"].split("^")
                need(element == f"element_id={self.record}" and name == "element=work_notes", "query")
                wanted = value.removeprefix("valueLIKE")
                return 200, {"result": [{"value": c} for c in self.comments if wanted in c]}
            case "PATCH", patched if patched == f"/api/now/table/change_request/{self.record}":
                only(sent, "work_notes", "state")
                need(all(isinstance(value, str) for value in sent.values()), "values are text")
                self.comments += [sent["work_notes"]] if "work_notes" in sent else []
                self.state = sent.get("state", self.state)
                return 200, {"result": {"sys_id": self.record}}
        return 404, {"error": {"message": "No Record found"}, "status": "failure"}


class GitHub(Desk):
    base = "/repos/example/policies"

    def take(self, method: str, path: str, query: dict[str, str], sent: Any) -> Answer:
        match method, path:
            case "GET", "/issues/7":
                return 200, {"number": 7, "state": self.state, "comments": len(self.comments)}
            case "PATCH", "/issues/7":
                only(sent, "state")
                need(sent["state"] in ("open", "closed"), "state")
                self.state = sent["state"]
                return 200, {"number": 7, "state": self.state}
            case "GET", "/issues/7/comments":
                size, page = int(query["per_page"]), int(query["page"])
                need(size <= 100, "per_page")
                return 200, [{"body": c} for c in self.comments[(page - 1) * size : page * size]]
            case "POST", "/issues/7/comments":
                only(sent, "body")
                need(isinstance(sent["body"], str) and bool(sent["body"]), "body")
                self.comments.append(sent["body"])
                return 201, {"id": 1}
        return 404, {"message": "Not Found"}


class GitLab(Desk):
    issue = "/api/v4/projects/42/issues/7"

    def take(self, method: str, path: str, query: dict[str, str], sent: Any) -> Answer:
        match method, path:
            case "GET", found if found == f"{self.issue}/notes":
                need(int(query["per_page"]) <= 100, "per_page")
                return 200, [{"body": c, "system": False} for c in reversed(self.comments)][: int(query["per_page"])]
            case "POST", found if found == f"{self.issue}/notes":
                only(sent, "body")
                need(isinstance(sent["body"], str) and bool(sent["body"]), "body")
                if re.search(r"^\s*/close\b", sent["body"], flags=re.MULTILINE):
                    self.state = "close"
                self.comments.append(sent["body"])
                return 201, {"id": 1}
            case "PUT", self.issue:
                only(sent, "state_event")
                need(sent["state_event"] in ("close", "reopen"), "state_event")
                self.state = sent["state_event"]
                return 200, {"iid": 7}
        return 404, {"message": "404 Not found"}
