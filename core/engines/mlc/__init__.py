"""The engine for models compiled by mlc-llm; it schedules itself."""
