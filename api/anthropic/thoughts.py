"""Thoughts on their way to a client and back, when it sends the conversation again."""

from __future__ import annotations

from api.anthropic.wire import ThinkingBlock
from api.sealing import open_text, seal_text


def sign_thought(thought: str, *, omitted: bool) -> str:
    """A thinking block's signature, without which clients send none back. It holds the thought itself where the block
    omits it."""
    return seal_text(thought if omitted else "")


def read_thought(block: ThinkingBlock) -> str:
    """What was thought, as far as that can be told: what another service has signed is known to nobody else."""
    return block.thinking or open_text(block.signature or "")
