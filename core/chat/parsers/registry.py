"""The families, and which of them a chat template is written for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from core.chat.parsers import command, gemma, granite, hunyuan, kimi_xtml, muse, solar
from core.chat.parsers.apertus import APERTUS
from core.chat.parsers.apriel import APRIEL
from core.chat.parsers.deepseek import DEEPSEEK_V3, DEEPSEEK_V4, DEEPSEEK_V31, DEEPSEEK_V32, DSML, SECTION
from core.chat.parsers.family import CallSyntax, ChatFamily, ThoughtMarks
from core.chat.parsers.functionary import FUNCTIONARY_31, FUNCTIONARY_32, RecipientFamily
from core.chat.parsers.generic import GENERIC
from core.chat.parsers.gigachat import GIGACHAT, GIGACHAT_31
from core.chat.parsers.glm import GLM_DENSE, GLM_LINES
from core.chat.parsers.harmony import HARMONY
from core.chat.parsers.hermes import HERMES
from core.chat.parsers.kimi import KIMI
from core.chat.parsers.lfm import PYTHONIC
from core.chat.parsers.llama import LLAMA, PYTHON_TAG
from core.chat.parsers.minicpm import MINICPM
from core.chat.parsers.minimax import MINIMAX, MINIMAX_LINES, MINIMAX_TREES, TREE_MARK
from core.chat.parsers.mistral import MistralCalls
from core.chat.parsers.nemotron import NEMOTRON
from core.chat.parsers.phi import FUNCTOOLS, PHI
from core.chat.parsers.qwen_coder import QWEN_CODER
from core.chat.parsers.seed import SEED

THOUGHTS: Final = (
    ThoughtMarks("<think>", "</think>"),
    ThoughtMarks("<thinking>", "</thinking>"),
    ThoughtMarks("<seed:think>", "</seed:think>"),
    ThoughtMarks("<mm:think>", "</mm:think>"),
    ThoughtMarks("[THINK]", "[/THINK]"),
    ThoughtMarks("<|START_THINKING|>", "<|END_THINKING|>"),
    ThoughtMarks("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"),
)
"""What models write before and after what they think."""


class FamilySigns(Struct, frozen=True):
    """A family, and what tells it by a template."""

    name: str
    calls: CallSyntax
    signs: tuple[str, ...]
    """Texts that stand together in the templates of this family, and in none of those below it."""
    frames: tuple[str, ...] = ()
    make: Callable[..., ChatFamily] = ChatFamily
    thought: ThoughtMarks | None = None
    """Where the template does not write the marks out."""


FAMILIES: Final = (
    FamilySigns("kimi-k3", kimi_xtml.KIMI_XTML, kimi_xtml.SIGNS, kimi_xtml.FRAMES, thought=kimi_xtml.THOUGHT),
    FamilySigns("solar", solar.SOLAR, ("<|tool_call:begin|>",), solar.FRAMES, thought=solar.THOUGHT),
    FamilySigns("hunyuan-3", hunyuan.HUNYUAN, (hunyuan.SIGN,), thought=hunyuan.THOUGHT),
    FamilySigns("muse", muse.MUSE, muse.SIGNS, make=muse.RecipientsFamily, thought=muse.THOUGHT),
    FamilySigns("kimi", KIMI, ("<|tool_calls_section_begin|>",)),
    FamilySigns("deepseek-v4", DEEPSEEK_V4, (DSML, "tool_calls>")),
    FamilySigns("deepseek-v3.2", DEEPSEEK_V32, (DSML,)),
    FamilySigns("deepseek-v3", DEEPSEEK_V3, (SECTION, "```json")),
    FamilySigns("deepseek-v3.1", DEEPSEEK_V31, (SECTION,)),
    FamilySigns("minimax-m3", MINIMAX_TREES, (TREE_MARK, "<invoke name=")),
    FamilySigns("minimax", MINIMAX, ("<minimax:tool_call>",)),
    FamilySigns("seed", SEED, ("<seed:tool_call>",)),
    FamilySigns("glm", GLM_LINES, ("<arg_key>", "</arg_key>\\n")),
    FamilySigns("glm", GLM_DENSE, ("<arg_key>",)),
    FamilySigns("qwen-coder", QWEN_CODER, ("<function=", "<parameter=")),
    FamilySigns("functionary-v3.1", FUNCTIONARY_31, ("<function=",)),
    FamilySigns("functionary-v3.2", FUNCTIONARY_32, (">>>all",), make=RecipientFamily),
    FamilySigns("minicpm", MINICPM, ("<function name=", "<param name=")),
    FamilySigns("mistral", MistralCalls(named=True, numbered=True), ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]")),
    FamilySigns("mistral", MistralCalls(named=True), ("[TOOL_CALLS]", "[ARGS]")),
    FamilySigns("mistral", MistralCalls(named=False), ("[TOOL_CALLS]",)),
    FamilySigns("command", command.COMMAND, ("<|START_ACTION|>",), command.FRAMES),
    FamilySigns("command-plus", command.COMMAND_PLUS, ("Action:", "```json", "<|CHATBOT_TOKEN|>")),
    FamilySigns("apertus", APERTUS, ("<|tools_prefix|>",)),
    FamilySigns("lfm", PYTHONIC, ("<|tool_call_start|>",)),
    FamilySigns("lfm", PYTHONIC, ("<|tool_list_start|>",)),
    FamilySigns("lfm", PYTHONIC, ("List of tools: [", "keep_past_thinking")),
    FamilySigns("nemotron", NEMOTRON, ("<TOOLCALL>",)),
    FamilySigns("minimax-m1", MINIMAX_LINES, ("<tool_calls>\\n{",)),
    FamilySigns("apriel", APRIEL, ("<tool_calls>",)),
    FamilySigns("phi", PHI, ("<|tool_call|>", "<|/tool_call|>")),
    FamilySigns("granite", granite.GRANITE, ("<|tool_call|>", "<|start_of_role|>"), granite.FRAMES),
    FamilySigns("phi", PHI, ("<|tool_call|>",)),
    FamilySigns("hermes", HERMES, ("<tool_call>",)),
    FamilySigns("gigachat-3.1", GIGACHAT_31, ("<|function_call|>",)),
    FamilySigns("gigachat", GIGACHAT, ("function call", "role_sep")),
    FamilySigns("functools", FUNCTOOLS, ("functools[",)),
    FamilySigns("llama", LLAMA, (PYTHON_TAG,)),
    FamilySigns("llama", LLAMA, ("<|start_header_id|>", "ipython")),
    FamilySigns("generic", GENERIC, ("tools",)),
)
"""The most particular first."""


def choose_family(template: str | None) -> ChatFamily | None:
    """The family of a model whose chat template is this; None where nothing in its answers is to be told apart."""
    if template is None:
        return None
    if "<|channel|>" in template and "<|message|>" in template:
        return HARMONY
    if "<|tool_call>" in template and "<|channel>" in template:
        return ChatFamily("gemma", gemma.THOUGHT, gemma.GEMMA)
    thought = next((marks for marks in THOUGHTS if marks.end in template and _may_begin(marks, template)), None)
    for family in FAMILIES:
        if all(sign in template for sign in family.signs):
            return family.make(family.name, family.thought or thought, family.calls, family.frames)
    return ChatFamily("thinking", thought) if thought is not None else None


def _may_begin(marks: ThoughtMarks, template: str) -> bool:
    """Some templates only take thoughts out of what was said, and so name their end alone."""
    return marks.begin in template or marks.begin == f"<{marks.end[2:]}"
