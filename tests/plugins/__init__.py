"""Plugins of benchtop: one that runs mlc-llm, and an example; built, installed and used as any other package is."""
