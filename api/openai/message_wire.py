"""Messages of a chat request as they stand on the wire."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Raw, UnsetType

from api.http.settle import Wire
from api.openai import fields

MOST_CALLS = 1024
"""In one message."""
Identity = Annotated[str, Meta(max_length=256)]
ArgumentsValue = Annotated[Raw, Meta(extra_json_schema={"type": ["string", "object", "null"]})]
"""JSON written into a text, as OpenAI has it; or the object itself."""


class WireTextPart(Wire, frozen=True, tag="text"):
    rules = fields.PART

    text: str


class RefusalPart(Wire, frozen=True, tag="refusal"):
    rules = fields.PART

    refusal: str


class ImagePart(Wire, frozen=True, tag="image_url"):
    """An image, which the model cannot take; nor can it take the parts below."""

    refused = True

    image_url: Raw | UnsetType = UNSET


class AudioPart(Wire, frozen=True, tag="input_audio"):
    refused = True

    input_audio: Raw | UnsetType = UNSET


class VideoPart(Wire, frozen=True, tag="video_url"):
    refused = True

    video_url: Raw | UnsetType = UNSET


class FilePart(Wire, frozen=True, tag="file"):
    refused = True

    file: Raw | UnsetType = UNSET


ContentPart = WireTextPart | RefusalPart | ImagePart | AudioPart | VideoPart | FilePart
Content = str | Annotated[list[ContentPart], Meta(max_length=4096)] | None


class CalledFunction(Wire, frozen=True):
    name: Annotated[str, Meta(min_length=1, max_length=256)]
    arguments: ArgumentsValue | UnsetType = UNSET


class CalledCustom(Wire, frozen=True):
    name: Annotated[str, Meta(min_length=1, max_length=256)]
    input: str = ""


class WireCall(Wire, frozen=True, kw_only=True):
    """A call of a function, or of a custom tool."""

    rules = fields.CALL

    id: Identity | None = None
    type: Literal["function", "custom"] | None = None
    function: CalledFunction | None = None
    custom: CalledCustom | None = None


class ChatMessage(Wire, frozen=True):
    rules = fields.MESSAGE
    extra_neutral = {"function_call": ("", {}), "tool_call_id": ("",)}

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content = None
    name: Annotated[str, Meta(max_length=256)] | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[WireCall], Meta(max_length=MOST_CALLS)] | None = None
    tool_call_id: Identity | None = None
    """Which call a tool's message is the result of."""
    function_call: CalledFunction | None = None
    """The form before there were tools, as the role `function`."""
    reasoning_content: str | None = None
    """What the assistant thought before it said this."""
    reasoning: str | None = None
    prefix: bool | None = None
    """Whether this message, the last one, is to be gone on with; so has DeepSeek, and the next is Moonshot's name."""
    partial: bool | None = None
