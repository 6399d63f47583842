"""The HTTP server: moto's application behind the gate, on 127.0.0.1, in threads that end with it."""

from __future__ import annotations

import logging
from threading import Thread

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

from sandbox.gate import App

HOST = "127.0.0.1"


class _QuietHandler(MotoRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Not a line per request: the sandbox's users read their own logs."""


class Server:
    """Listens from construction on; `close` frees the port and joins the thread.

    Raises OSError if the port is taken.
    """

    def __init__(self, port: int, app: App) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server: BaseWSGIServer = _listen(port, app)
        self.port = int(self._server.server_port)
        # A daemon, so that a process that forgot to close still ends; close joins it all the same.
        self._thread = Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="sandbox-http",
            daemon=True,
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def moto_app() -> App:
    return DomainDispatcherApplication(create_backend_app)


def _listen(port: int, app: App) -> BaseWSGIServer:
    try:
        return make_server(HOST, port, app, threaded=True, request_handler=_QuietHandler)
    except SystemExit as exc:  # werkzeug prints and exits when the port is taken
        raise OSError(f"port {port} on {HOST} is in use; choose another with --port, or 0 for a free one") from exc
