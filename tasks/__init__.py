"""Prefect tasks: one thin shim for each step of the core."""
