"""Thoughts on their way to a client and back, when it sends the conversation again."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from api.anthropic.wire import ThinkingBlock

SIGNATURE: Final = "benchtop-1."
"""How the signature of a thought from here begins. Clients send back none that has no signature."""


def sign_thought(thought: str, *, omitted: bool) -> str:
    """A thinking block's signature. It holds the thought itself where the block omits it."""
    return SIGNATURE + (base64.b64encode(thought.encode()).decode() if omitted else "")


def read_thought(block: ThinkingBlock) -> str:
    """What was thought, as far as that can be told: what another service has signed is known to nobody else."""
    if block.thinking or not (signature := block.signature or "").startswith(SIGNATURE):
        return block.thinking
    try:
        return base64.b64decode(signature.removeprefix(SIGNATURE), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
