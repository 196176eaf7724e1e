"""The same question to several models, quants or settings."""
