"""Conversations with models as they are kept: what was asked and answered, in versions and branches."""
