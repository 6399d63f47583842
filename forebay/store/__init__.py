"""The store: what Forebay remembers, on SQLite (demo, one host) or PostgreSQL (production)."""

from forebay.store.migrate import migrate
from forebay.store.sql import SqlStore, open_store

__all__ = ["SqlStore", "migrate", "open_store"]
