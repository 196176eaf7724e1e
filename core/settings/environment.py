"""Settings from environment variables, `BENCHTOP_<SECTION>_<KEY>`: which there are, and what each says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, get_args, get_origin, get_type_hints

from msgspec import Struct

from core.environment import clean_value
from core.errors import ConfigError
from core.settings.check import nearest
from core.settings.merge import Key

PREFIX: Final = "BENCHTOP_"
HOME: Final = f"{PREFIX}HOME"
"""Where everything is kept; no setting."""
TESTS: Final = f"{PREFIX}TEST_"
"""What the project's own tests are told; no settings either."""


class Variable(Struct, frozen=True):
    """One that was given, and is not empty."""

    name: str
    key: Key
    """Section and key."""
    value: str | list[str]
    """A list where the setting is one, by commas."""


def variable_of(key: Key) -> str:
    """The name of the variable for a setting."""
    return f"{PREFIX}{'_'.join(key)}".upper()


def given_variables(environment: Mapping[str, str], settings: type[Struct]) -> Iterator[Variable]:
    """Those that say something. Raises ConfigError for one that names no setting."""
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
    """By name: section and key, and type. The names of models do not fit into the names of variables."""
    return {
        variable_of((section, key)): ((section, key), hint)
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
    near = nearest(variable, known)
    return ConfigError(
        f"The environment variable {variable} names no setting"
        f"{near if near != '.' else '; unset it or correct its name.'}"
    )


def _is_list(hint: object) -> bool:
    return get_origin(hint) in (tuple, list) or any(_is_list(part) for part in get_args(hint))


def _split(value: str) -> list[str]:
    return [part for each in value.split(",") if (part := clean_value(each)) is not None]
