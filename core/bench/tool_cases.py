"""The questions that show whether a model calls tools well: what it is asked, with which tools, and what is right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from core.requests import Message, Role, TextPart, Tool, ToolCall


class ToolArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """Of one tool: both the schema that the model is told, and what its calls are held to."""


class WeatherPlace(ToolArguments, frozen=True):
    city: Annotated[str, Meta(description="name of the city alone, as in Oslo")]


class MoneyAmount(ToolArguments, frozen=True):
    amount: float
    source: Annotated[str, Meta(description="ISO 4217 code of the currency it is in")]
    target: Annotated[str, Meta(description="ISO 4217 code of the currency it is to be in")]


class LetterText(ToolArguments, frozen=True):
    to: str
    subject: str
    body: str


class SearchWords(ToolArguments, frozen=True):
    query: str


class HeatingOrder(ToolArguments, frozen=True):
    room: str
    degrees: float
    hours: int
    fan: Annotated[bool, Meta(description="whether the fan runs")]


class PostalAddress(Struct, frozen=True, forbid_unknown_fields=True):
    street: Annotated[str, Meta(description="with the house number")]
    city: str
    postcode: str


class ContactCard(ToolArguments, frozen=True):
    name: str
    address: PostalAddress
    groups: list[Literal["family", "work", "friends"]]


class FileText(ToolArguments, frozen=True):
    path: str
    content: Annotated[str, Meta(description="the whole text of the file")]


class ToolOffer(Struct, frozen=True):
    """A tool, and what its arguments are."""

    name: str
    description: str
    arguments: type[ToolArguments]

    def declare(self) -> Tool:
        return Tool(self.name, self.description, json.dumps(build_schema(self.arguments)))


WEATHER: Final = ToolOffer("get_weather", "Tells the weather in a city as it is now.", WeatherPlace)
MONEY: Final = ToolOffer("convert_currency", "Converts an amount of money by today's rate.", MoneyAmount)
LETTER: Final = ToolOffer("send_email", "Sends an email.", LetterText)
SEARCH: Final = ToolOffer("search_web", "Searches the web.", SearchWords)
HEATING: Final = ToolOffer("set_heating", "Heats a room for some hours.", HeatingOrder)
CONTACT: Final = ToolOffer("add_contact", "Adds a person to the address book.", ContactCard)
FILE: Final = ToolOffer("write_file", "Writes a text into a file.", FileText)


class RightCall(Struct, frozen=True):
    tool: str
    arguments: ToolArguments


class ToolCase(Struct, frozen=True):
    """One question. Where `calls` is empty, the model should answer in words, of which `answer` is one."""

    title: str
    question: str
    offers: tuple[ToolOffer, ...]
    calls: tuple[RightCall, ...] = ()
    """In any order."""
    answer: str = ""
    result: str = ""
    """What the tool told, where the question was followed by a call of the first one already."""
    argument: str = "{}"
    """Of that call."""

    def build_messages(self) -> tuple[Message, ...]:
        asked = Message(Role.USER, (TextPart(self.question),))
        if not self.result:
            return (asked,)
        call = ToolCall("call_health1", self.offers[0].name, self.argument)
        return (
            asked,
            Message(Role.ASSISTANT, (), tool_calls=(call,)),
            Message(Role.TOOL, (TextPart(self.result),), name=call.name, tool_call_id=call.id),
        )


FILE_CONTENT: Final = 'print("It\'s done")\nprint(\'say "yes"\')'
TOOL_CASES: Final = (
    ToolCase(
        "one call",
        "What is the weather in Lisbon right now?",
        (WEATHER,),
        (RightCall(WEATHER.name, WeatherPlace("Lisbon")),),
    ),
    ToolCase(
        "the right one of four",
        "How many euros (EUR) are 250 US dollars (USD) today?",
        (LETTER, WEATHER, SEARCH, MONEY),
        (RightCall(MONEY.name, MoneyAmount(250, "USD", "EUR")),),
    ),
    ToolCase("none needed", "What is two plus three? Answer with the digit.", (WEATHER, LETTER), answer="5"),
    ToolCase(
        "two at once",
        "What is the weather right now in Paris, and what is it in Tokyo? Ask for both at once.",
        (WEATHER,),
        (RightCall(WEATHER.name, WeatherPlace("Paris")), RightCall(WEATHER.name, WeatherPlace("Tokyo"))),
    ),
    ToolCase(
        "numbers and booleans",
        "Heat the bedroom to 21.5 degrees for 3 hours, with the fan off.",
        (HEATING,),
        (RightCall(HEATING.name, HeatingOrder("bedroom", 21.5, 3, fan=False)),),
    ),
    ToolCase(
        "an object inside",
        "Add Ada Byron to my contacts: 12 Mill Lane in Cambridge, postcode CB2 1RX. She is one of my friends.",
        (CONTACT,),
        (
            RightCall(
                CONTACT.name,
                ContactCard("Ada Byron", PostalAddress("12 Mill Lane", "Cambridge", "CB2 1RX"), ["friends"]),
            ),
        ),
    ),
    ToolCase(
        "several lines with quotes",
        f"Write exactly these two lines, and nothing else, into the file say.py:\n\n{FILE_CONTENT}",
        (FILE,),
        (RightCall(FILE.name, FileText("say.py", FILE_CONTENT)),),
    ),
    ToolCase(
        "a result answered",
        "How many degrees is it in Lisbon right now?",
        (WEATHER,),
        answer="17",
        result='{"city": "Lisbon", "celsius": 17, "sky": "clear"}',
        argument='{"city": "Lisbon"}',
    ),
)


def build_schema(kind: type[ToolArguments]) -> Mapping[str, object]:
    """The JSON Schema of a tool's arguments, with all of it in one place: models do not follow references."""
    (schema,), parts = msgspec.json.schema_components([kind], ref_template="{name}")
    return _unfold(schema, parts)


def _unfold(schema: Mapping[str, object], parts: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    reference = schema.get("$ref")
    if isinstance(reference, str):
        # Its title is the name of our class, which is nothing to a model.
        schema = {key: value for key, value in parts[reference].items() if key != "title"}
    return {key: _unfold(value, parts) if isinstance(value, Mapping) else value for key, value in schema.items()}
