"""Settings from environment variables, `BENCHTOP_<SECTION>_<KEY>`: their names and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, get_args, get_origin, get_type_hints

from msgspec import Struct

from core.environment import clean_value
from core.errors import ConfigError
from core.settings.check import suggest_key
from core.settings.merge import Key

PREFIX: Final = "BENCHTOP_"
HOME: Final = f"{PREFIX}HOME"
"""The variable for the folder of all files. It is no setting."""
TESTS: Final = f"{PREFIX}TEST_"
"""Variables for the project's own tests. They are no settings."""


class Variable(Struct, frozen=True):
    """A variable that is set, and not to an empty text."""

    name: str
    key: Key
    """Section and key."""
    value: str | list[str]
    """A list where the setting is a list; commas divide it."""


def name_variable(key: Key) -> str:
    """The name of the variable for a setting."""
    return f"{PREFIX}{'_'.join(key)}".upper()


def list_given_variables(environment: Mapping[str, str], settings: type[Struct]) -> Iterator[Variable]:
    """The variables that set something. Raises ConfigError for a variable that names no setting."""
    known = _variables(settings)
    for name, text in environment.items():
        if not name.startswith(PREFIX) or name == HOME or name.startswith(TESTS):
            continue
        if (value := clean_value(text)) is None:
            continue
        if name not in known:
            raise _no_such_variable(name, tuple(known))
        key, hint = known[name]
        if not _is_list(hint):
            yield Variable(name, key, value)
        elif parts := _split(value):
            yield Variable(name, key, parts)


def _variables(settings: type[Struct]) -> dict[str, tuple[Key, object]]:
    """Section, key and type of each variable, by its name. Names of models do not fit into variables."""
    return {
        name_variable((section, key)): ((section, key), hint)
        for section, kind in get_type_hints(settings).items()
        if section != "models"
        for key, hint in get_type_hints(kind).items()
    }


def _no_such_variable(variable: str, known: tuple[str, ...]) -> ConfigError:
    if variable == f"{PREFIX}MODELS" or variable.startswith(f"{PREFIX}MODELS_"):
        return ConfigError(
            f"Models cannot be set in the environment, as {variable} would; "
            "write a table [models.NAME] in the config file, or name them with --models."
        )
    near = suggest_key(variable, known)
    return ConfigError(
        f"The environment variable {variable} names no setting"
        f"{near if near != '.' else '; unset it or correct its name.'}"
    )


def _is_list(hint: object) -> bool:
    """What may be a text as well is taken for one, commas and all."""
    parts = get_args(hint)
    return get_origin(hint) in (tuple, list) or (str not in parts and any(_is_list(part) for part in parts))


def _split(value: str) -> list[str]:
    return [part for each in value.split(",") if (part := clean_value(each)) is not None]
