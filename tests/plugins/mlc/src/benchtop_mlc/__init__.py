"""Runs models that were compiled for mlc-llm."""
