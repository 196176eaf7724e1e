"""What the declaration of a struct of settings tells of each field: its kind, its bounds, its help.

Imports no msgspec: the command line's help reads declarations from their source, see `tui.cli.declarations`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from msgspec import Struct

PLACEHOLDERS: Final[Mapping[type, str]] = {int: "N", float: "SECONDS", tuple: "FILE"}
"""What stands for a value in the help; `NAME` for all other types."""


class Declared(NamedTuple):
    """One field."""

    name: str
    kind: type
    """`int`, `float`, `bool`, `str`, `tuple` for a list, or the Struct of a table."""
    choices: tuple[str, ...] = ()
    """The values there are, where only some strings are valid."""
    words: tuple[str, ...] = ()
    """What may be said in place of a number."""
    help: str = ""
    """A phrase, with the default in brackets; empty for a setting that is no option of the command line."""
    least: float | None = None
    most: float | None = None
    """Bounds that are themselves allowed."""
    secret: bool = False
    local: bool = False
    """Names files or folders of this machine: in a config file, as seen from the file's folder."""
    operator: bool = False
    """Only who runs the server may say it, none of its clients."""
    numbers: bool = False
    """A list of numbers, which commas divide."""
    called: str | None = None
    """The option of the command line, where it is not called as the field; `--no-...` sets false alone."""
    also: str | None = None
    """Another name of the option, `-e`."""
    value: str | None = None
    """What stands for the value in the help, where `placeholder` does not tell by the kind."""
    llama_cpp: str | None = None
    """The name in a config file of llama-cpp-python's server."""

    @property
    def option(self) -> str:
        """The option of the command line: the name, of a list in the singular, since each value is given by itself."""
        if self.called is not None:
            return self.called
        name = self.name.removesuffix("s") if self.kind is tuple else self.name
        return f"--{name.replace('_', '-')}"

    @property
    def denies(self) -> bool:
        """Whether the option says no: it sets the key to false, which is true without it."""
        return self.kind is bool and self.option.startswith("--no-")

    @property
    def option_help(self) -> str:
        """What the option of the command line is for."""
        return f"do not {self.help.removesuffix(' (true)')}" if self.denies else self.help

    @property
    def placeholder(self) -> str:
        """What stands for the value in the help: `SECONDS`."""
        return self.value or ("KEY" if self.secret else PLACEHOLDERS.get(self.kind, "NAME"))


def list_fields(settings: type[Struct]) -> list[Declared]:
    """The fields of a struct: those of the class itself before those that it inherits."""
    hints = get_type_hints(settings, include_extras=True)
    own_first = [name for each in settings.__mro__ for name in vars(each).get("__annotations__", ())]
    return [_declared(name, hints[name]) for name in dict.fromkeys(own_first) if name in settings.__struct_fields__]


def _declared(name: str, hint: object) -> Declared:
    parts = list(_parts(hint))
    kind, *others = [part for part in parts if isinstance(part, type) and part is not type(None)]
    choices = tuple(str(member.value) for member in kind) if issubclass(kind, Enum) else ()
    words = [str(member.value) for other in others if issubclass(other, Enum) for member in other]
    metas = [part for part in parts if not isinstance(part, type)]
    told: dict[str, Any] = {"help": "", "least": None, "most": None}
    for meta in metas:
        told["help"] = getattr(meta, "description", None) or told["help"]
        told["least"] = told["least"] if getattr(meta, "ge", None) is None else meta.ge  # type: ignore[attr-defined]
        told["most"] = told["most"] if getattr(meta, "le", None) is None else meta.le  # type: ignore[attr-defined]
        told |= getattr(meta, "extra", None) or {}
    return Declared(name, str if choices else kind, choices, tuple(words), **told)


def _parts(hint: Any) -> Iterator[object]:
    """The types in a union, and what they are annotated with. The types in a list are not looked at."""
    if hasattr(hint, "__metadata__"):
        yield from hint.__metadata__
        yield from _parts(hint.__origin__)
    elif isinstance(origin := get_origin(hint), type) and issubclass(origin, (tuple, dict)):
        yield origin
    elif arguments := get_args(hint):
        for part in arguments:
            yield from _parts(part)
    else:
        yield hint
