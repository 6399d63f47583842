"""Thin Prefect tasks: one effect each, with its retries, timeout and log lines."""
