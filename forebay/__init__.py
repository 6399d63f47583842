"""Forebay fills the capacity before the gate opens: see docs/architecture.md."""
