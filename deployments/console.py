"""Prefect's console log without its decoration: an orphaned run must outlive its runner's pipe."""

from __future__ import annotations

import logging
from typing import Any, TextIO


class PlainConsole(logging.StreamHandler[TextIO]):
    """Prefect's own handler ends its process when the pipe it writes to is gone; this one only reports it.

    Prefect gives its console handler `styles`, which the standard handler refuses, and with it the whole of Prefect's
    logging, without a word: no run would have logs.
    """

    def __init__(self, stream: TextIO | None = None, styles: Any = None) -> None:
        super().__init__(stream)
