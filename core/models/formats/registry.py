"""The formats by name: those built in, and those of plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from core.contract.artifact import FormatName
from core.errors import BenchtopError
from core.models.catalog import Task
from core.models.formats.format import Format
from core.models.formats.listing import FileListing, Group
from core.models.formats.source import Damaged
from core.plugins import Plugin, PluginBroken, Registry, list_missing_members, list_plugins

FORMATS: Final[Mapping[FormatName, str]] = {
    "gguf": "core.models.formats.gguf:GgufFormat",
    "mlx": "core.models.formats.safetensors:MlxFormat",
    "pte": "core.models.formats.executorch:PteFormat",
    "mnn": "core.models.formats.mnn:MnnFormat",
    "onnx": "core.models.formats.onnx:OnnxFormat",
    "onnx-embedder": "core.models.formats.onnx:OnnxEmbedderFormat",
    "onnx-reranker": "core.models.formats.onnx:OnnxRerankerFormat",
    "onnx-genai": "core.models.formats.genai:GenaiFormat",
    "ggml-whisper": "core.models.formats.whisper:WhisperFormat",
}
"""Name to `module:Class`, in order of preference. A folder that several formats recognise is of the last of them: the
later ones ask for more files."""
GROUP: Final = "benchtop.formats"
Answer = TypeVar("Answer")
Arguments = ParamSpec("Arguments")


class Formats:
    """All formats of a process. A plugin's format that raises an unexpected error is left out from then on."""

    def __init__(self, find: Callable[[str], Iterable[Plugin]] = list_plugins) -> None:
        self._registry: Registry[Format] = Registry(GROUP, FORMATS, lambda made: made(), _check, find)

    def __iter__(self) -> Iterator[Format]:
        """The built-in formats, then those of plugins, which are looked for when the iteration comes to them."""
        return iter(self._registry)

    @property
    def names(self) -> tuple[FormatName, ...]:
        return self._registry.names

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        return self._registry.plugins

    def find_broken(self) -> tuple[PluginBroken, ...]:
        """The plugins that cannot be used; tries each."""
        _ = [*self]
        return self._registry.broken

    def get(self, name: FormatName) -> Format | None:
        """None for URL and SCRIPT, and for a format whose plugin is gone or cannot be used."""
        try:
            return self._registry.get(name)
        except (KeyError, PluginBroken):
            return None

    def of_file(self, head: bytes) -> Format:
        """The format of a file that begins so. Raises Damaged."""
        for each in self:
            if self.ask(each, False, each.is_file, head):
                return each
        raise Damaged("it does not begin as a GGUF file does")

    def of_folder(self, folder: Path) -> Format:
        """Raises Damaged."""
        known: list[Format] = [*self]
        for each in reversed(known):
            if self.ask(each, False, each.is_folder, folder):
                return each
        raise Damaged(
            "the folder holds neither *.safetensors beside a config.json, nor *.onnx files, "
            "nor *.mnn files beside an llm_config.json, nor *.pte files"
        )

    def group_files(self, listing: FileListing) -> list[tuple[Format, Group]]:
        """The models in a repository or folder, by format."""
        nothing: list[Group] = []
        return [(each, group) for each in self for group in self.ask(each, nothing, _grouped, each, listing)]

    def ask(
        self,
        asked: Format,
        otherwise: Answer,
        call: Callable[Arguments, Answer],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Answer:
        """Call a method of a format; the answer is `otherwise` where a plugin's raises an unexpected error.

        Raises Damaged, BenchtopError, OSError.
        """
        try:
            return call(*args, **kwargs)
        except (Damaged, BenchtopError, OSError):
            raise
        except Exception as error:
            plugin = next((each for each in self._registry.plugins if each.name == asked.name), None)
            if plugin is None:
                raise
            self._registry.leave_out(plugin, f"it failed with {type(error).__name__}: {error}".rstrip("."))
            return otherwise


@cache
def load_formats() -> Formats:
    """The formats of this process; installed packages do not change while it runs."""
    return Formats()


def _grouped(format_: Format, listing: FileListing) -> list[Group]:
    groups = [*format_.group_files(listing)]
    for group in groups:
        if not group.names or not group.files or any(path not in listing.sizes for path in group.files):
            raise ValueError(f"it groups {group.files} as {group.names}")
    return groups


def _check(made: Format) -> str | None:
    if missing := list_missing_members(made, Format):
        return f"it is no format, for it has no {', '.join(missing)}"
    words = (made.name, *made.patterns, *filter(None, (made.hub_tag, made.checked_ending)))
    typed = all(isinstance(each, str) for each in words) and isinstance(made.task, Task)
    return None if typed else "its names and patterns are not all texts, or its task is no Task"
