"""A wrong value is told in words for people who know JSON or TOML, and need not know Python."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta, Struct

from core.wrong_values import explain_value, find_type, list_choices


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Inner(Struct):
    mode: Literal["on", "off"] = "on"


class Outer(Struct):
    count: Annotated[int, Meta(ge=1, le=9)] | None = None
    share: Annotated[float, Meta(gt=0, lt=0.5)] | None = None
    either: int | float | None = None
    name: Annotated[str, Meta(min_length=1, max_length=1)] | None = None
    names: Annotated[list[str], Meta(max_length=2)] | None = None
    colour: Colour | None = None
    inner: list[Inner] | None = None
    flag: bool = True


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"count": 0}, "it is too small; at least 1"),
        ({"count": 10}, "it is too large; at most 9"),
        ({"share": 0}, "it is too small; more than 0"),
        ({"share": 0.5}, "it is too large; less than 0.5"),
        ({"count": "x"}, "expected a whole number, got a text"),
        ({"either": []}, "expected a number, got a list"),
        ({"flag": None}, "expected true or false, got null"),
        ({"names": {}}, "expected a list, got an object"),
        ({"name": ""}, "it is too short; at least 1 character"),
        ({"name": "ab"}, "it is too long; at most 1 character"),
        ({"names": ["a", "b", "c"]}, "it is too long; at most 2 items"),
        ({"colour": "green"}, "it is none of red, blue"),
        ({"inner": [{"mode": "dim"}]}, "it is none of on, off"),
    ],
)
def test_a_wrong_value_is_told_without_the_names_of_types(given: dict[str, object], told: str) -> None:
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert(given, Outer)
    said, _, path = str(error.value).partition(" - at `$.")
    choices = tuple(list_choices(find_type(Outer, path.removesuffix("`").split("."))))
    assert explain_value(said, "it", choices) == told


def test_a_pattern_is_told_as_it_was_written() -> None:
    told = explain_value(r"Expected `str` matching regex '^[\\w-]+$'", "it")
    assert told == r"it has characters that may not stand there, or none; the pattern is ^[\w-]+$"


def test_what_is_not_known_here_is_passed_on() -> None:
    assert explain_value("Expected a miracle", "it") == "expected a miracle"
