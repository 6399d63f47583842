"""Prefect Blocks: the typed configuration an operator edits in the UI. Each yields a Forebay adapter."""
