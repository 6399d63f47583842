"""Prefect flows: orchestration only, one file a flow. What they do is in `tasks` and `forebay`."""
