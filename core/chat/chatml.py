"""ChatML: how a conversation is written for a model that carries no template, or one that cannot be used.

Templates that say exactly this are ours, and common; they need no interpreter, and so no process to run it in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

CHATML: Final = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPELLINGS: Final = frozenset(
    {
        CHATML,
        (
            "{% for message in messages %}"
            "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
            "{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
        ),
    }
)
"""Sources whose rendering is that of `write_chatml`; the second is that of the model in the package."""


def write_chatml(turns: Iterable[tuple[str, str]], *, add_generation_prompt: bool) -> str:
    """`turns` are roles with what was said."""
    written = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
    return f"{written}<|im_start|>assistant\n" if add_generation_prompt else written
