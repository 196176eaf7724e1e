"""Fields of requests for responses that nothing here reads; see `api.http.field_rules`."""

from __future__ import annotations

from typing import Final

from api.http.field_rules import Rules, allow_only, drop_field
from api.openai.fields import CHAT
from api.openai.fields import REASONING as BOX

RESPONSE: Final[Rules] = {
    **CHAT,
    # Nothing is cut to fit: what is too long is refused, and what is not is taken whole.
    "truncation": drop_field("", "disabled"),
    "context_management": drop_field([]),
    "stream_id": drop_field(""),
    "access_programs": drop_field({}),
    "image": drop_field({}),
    "client_metadata": drop_field({}),
    # Kept elsewhere, so that nothing is known of it here.
    "conversation": allow_only("", {}, instead="send `previous_response_id`, or the items themselves"),
    "prompt": allow_only({}, instead="send `instructions` and `input`"),
    # Names of another dialect
    "messages": allow_only([], instead="send `input`"),
    "functions": allow_only([], instead="send `tools`"),
    "function_call": allow_only("", instead="send `tool_choice`"),
    "logprobs": allow_only(False, instead="send `include` with `message.output_text.logprobs`"),
}

_OF_ITEMS: Final[Rules] = {
    "created_by": drop_field(""),
    "metadata": drop_field({}),
    "cache_control": drop_field({}),
    "internal_chat_message_metadata_passthrough": drop_field({}),
}
MESSAGE: Final[Rules] = {**_OF_ITEMS, "phase": drop_field(""), "name": drop_field("")}
REASONING: Final[Rules] = _OF_ITEMS
CALL: Final[Rules] = {**_OF_ITEMS, "caller": drop_field({}), "async": drop_field(False)}
OUTPUT: Final[Rules] = {**_OF_ITEMS, "caller": drop_field({}), "name": drop_field(""), "namespace": drop_field("")}
PART: Final[Rules] = {
    "annotations": drop_field([]),
    "logprobs": drop_field([]),
    "prompt_cache_breakpoint": drop_field({}),
    "cache_control": drop_field({}),
}

TOOL: Final[Rules] = {
    "defer_loading": drop_field(False),
    "allowed_callers": drop_field([]),
    "async": drop_field(False),
    "output_schema": drop_field({}),
    "cache_control": drop_field({}),
}
TEXT: Final[Rules] = {"verbosity": drop_field("", "medium")}
REASONING_WISH: Final[Rules] = {
    **BOX,
    "context": drop_field("", "auto"),
    "mode": drop_field("", "standard"),
}
INCLUDED: Final = (
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
)
"""What `include` may name. All but the first two tell more of what never comes here."""
