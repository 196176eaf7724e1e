"""What becomes of the fields of a request that no code here reads.

Null is absent. A value that asks for what happens anyway is taken. What could not change the answer is dropped, and the
client is told by the header `x-benchtop-ignored`. Only what would make the answer another one is refused, by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from api.http.replies import Headers

Json = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

EMPTY: Final[tuple[Json, ...]] = ("", [], {})
NEUTRAL: Final[tuple[Json, ...]] = (None, False, 0, "", [], {})
"""With one of these values an unknown field asks for nothing; with any other value it may be a misspelt known field."""
MOST_TOLD_NAMES: Final = 40
"""Names in one header; a client that sends more fields in vain has seen enough."""


class Rule(Struct, frozen=True):
    """How one field is judged whose values change nothing here."""

    neutral: tuple[Json, ...] = ()
    """Taken, besides null: each asks for what happens anyway."""
    told: bool = False
    """Other values are dropped and told; they are refused where this is false."""
    instead: str = ""
    """What to do instead, where that is more than leaving the field out."""
    why: str = ""
    """Why no value of it is a client's to give, where that is why it is refused: the end of a sentence."""

    def takes(self, value: Json) -> bool:
        plain = _without_nulls(value)
        return plain is None or any(is_same(plain, each) for each in self.neutral)


Rules = Mapping[str, Rule]


def drop_field(*neutral: Json) -> Rule:
    """A field that changes no answer; with a value other than these, that is told."""
    return Rule(neutral, told=True)


def allow_only(*neutral: Json, instead: str = "") -> Rule:
    """A field that would change the answer with any value but these."""
    return Rule(neutral, instead=instead)


def leave_to_operator(why: str) -> Rule:
    """A field that only the operator of the server may set."""
    return Rule(EMPTY, why=why)


def is_neutral(value: Json) -> bool:
    """Whether an unknown field with this value asks for nothing."""
    plain = _without_nulls(value)
    return any(is_same(plain, each) for each in NEUTRAL)


def _without_nulls(value: Json) -> Json:
    """A box of absent fields is an empty one: libraries write every field that their classes have."""
    return {name: each for name, each in value.items() if each is not None} if isinstance(value, dict) else value


def is_same(one: Json, other: Json) -> bool:
    """As JSON has it: 1 and 1.0 are one number, and neither is `true`."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return one == other


def tell_ignored(names: Iterable[str]) -> Headers:
    """The header that names what was dropped; none where nothing was. `names` are our own, never a client's words."""
    each = tuple(dict.fromkeys(names))
    if not each:
        return ()
    return ((b"x-benchtop-ignored", ", ".join(_take_first(each)).encode("ascii", "replace")),)


def _take_first(names: Sequence[str]) -> Sequence[str]:
    return (
        names
        if len(names) <= MOST_TOLD_NAMES
        else (*names[:MOST_TOLD_NAMES], f"and {len(names) - MOST_TOLD_NAMES} more")
    )
