"""Stands in for the compiler below mlc-llm, which only has to be there."""
