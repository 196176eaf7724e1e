"""Chat templates by the names that llama.cpp has for them, for models that carry none, or a broken one.

They write what llama.cpp's own of that name writes. A system message of a family that knows none goes before what the
user says first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from core.chat.chatml import CHATML_WITH_TOOLS

_EACH: Final = "{% for message in messages %}"
_END: Final = "{% endfor %}"


def _begin_answer(begin: str) -> str:
    return "{% if add_generation_prompt %}" + begin + "{% endif %}"


def _write_turns(turn: str, answer: str) -> str:
    """`turn` is the same for all roles."""
    return _EACH + turn + _END + _begin_answer(answer)


def _write_roles(system: str, user: str, assistant: str, answer: str) -> str:
    return (
        _EACH
        + "{% if message.role == 'system' %}"
        + system
        + "{% elif message.role == 'assistant' %}"
        + assistant
        + "{% else %}"
        + user
        + "{% endif %}"
        + _END
        + _begin_answer(answer)
    )


def _write_instructions(before: str, system: str, user: str, assistant: str) -> str:
    """Pairs of a user's words, with a system message in them, and an answer."""
    return (
        "{% set turn = namespace(open=false) %}"
        + _EACH
        + "{% if not turn.open %}"
        + before
        + "{% set turn.open = true %}{% endif %}"
        + "{% if message.role == 'system' %}"
        + system
        + "{% elif message.role == 'assistant' %}"
        + assistant
        + "{% set turn.open = false %}{% else %}"
        + user
        + "{% endif %}"
        + _END
    )


COMMON_TEMPLATES: Final[Mapping[str, str]] = {
    "chatml": CHATML_WITH_TOOLS,
    "command-r": _write_roles(
        "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>{{ message.content | trim }}<|END_OF_TURN_TOKEN|>",
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{{ message.content | trim }}<|END_OF_TURN_TOKEN|>",
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{{ message.content | trim }}<|END_OF_TURN_TOKEN|>",
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    ),
    "deepseek": _write_roles(
        "{{ message.content }}",
        "### Instruction:\n{{ message.content }}\n",
        "### Response:\n{{ message.content }}\n<|EOT|>\n",
        "### Response:\n",
    ),
    "deepseek3": _write_roles(
        "{{ message.content }}\n\n",
        "<\uff5cUser\uff5c>{{ message.content }}",
        "<\uff5cAssistant\uff5c>{{ message.content }}<\uff5cend\u2581of\u2581sentence\uff5c>",
        "<\uff5cAssistant\uff5c>",
    ),
    "falcon3": _write_turns("<|{{ message.role }}|>\n{{ message.content }}\n", "<|assistant|>\n"),
    "gemma": (
        "{% set said = namespace(system='') %}"
        + _EACH
        + "{% if message.role == 'system' %}{% set said.system = said.system + (message.content | trim) %}{% else %}"
        "<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}\n"
        "{% if said.system and message.role != 'assistant' %}{{ said.system + '\\n\\n' }}{% set said.system = '' %}"
        "{% endif %}{{ message.content | trim }}<end_of_turn>\n{% endif %}"
        + _END
        + _begin_answer("<start_of_turn>model\n")
    ),
    "llama2": _write_instructions(
        "[INST] ", "{{ message.content + '\\n' }}", "{{ message.content }} [/INST]", "{{ message.content }}</s>"
    ),
    "llama2-sys": _write_instructions(
        "[INST] ",
        "<<SYS>>\n{{ message.content }}\n<</SYS>>\n\n",
        "{{ message.content }} [/INST]",
        "{{ message.content }}</s>",
    ),
    "llama3": _write_turns(
        "<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n{{ message.content | trim }}<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "mistral-v1": _write_instructions(
        "{{ ' [INST] ' }}",
        "{{ message.content + '\\n\\n' }}",
        "{{ message.content }} [/INST]",
        "{{ ' ' + message.content }}</s>",
    ),
    "mistral-v3": _write_instructions(
        "[INST] ",
        "{{ message.content + '\\n\\n' }}",
        "{{ message.content }}[/INST]",
        "{{ ' ' + (message.content | trim) }}</s>",
    ),
    "mistral-v3-tekken": _write_instructions(
        "[INST]",
        "{{ message.content + '\\n\\n' }}",
        "{{ message.content }}[/INST]",
        "{{ message.content }}</s>",
    ),
    "mistral-v7": _write_roles(
        "[SYSTEM_PROMPT] {{ message.content }}[/SYSTEM_PROMPT]",
        "[INST] {{ message.content }}[/INST]",
        "{{ ' ' + message.content }}</s>",
        "",
    ),
    "openchat": _write_roles(
        "{{ message.content }}<|end_of_turn|>",
        "GPT4 Correct User: {{ message.content }}<|end_of_turn|>",
        "GPT4 Correct Assistant: {{ message.content }}<|end_of_turn|>",
        "GPT4 Correct Assistant:",
    ),
    "phi3": _write_turns("<|{{ message.role }}|>\n{{ message.content }}<|end|>\n", "<|assistant|>\n"),
    "phi4": _write_turns(
        "<|im_start|>{{ message.role }}<|im_sep|>{{ message.content }}<|im_end|>", "<|im_start|>assistant<|im_sep|>"
    ),
    "vicuna": _write_roles(
        "{{ message.content }}\n\n",
        "USER: {{ message.content }}\n",
        "ASSISTANT: {{ message.content }}</s>\n",
        "ASSISTANT:",
    ),
    "zephyr": _write_turns(
        "<|{{ message.role }}|>\n{{ message.content }}<|endoftext|>\n",
        "<|assistant|>\n",
    ),
}
"""Jinja, by name."""
