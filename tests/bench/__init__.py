"""Measurements. They print tables and assert nothing: `uv run python -m tests.bench` runs them all."""
