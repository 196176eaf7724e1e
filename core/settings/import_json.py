"""JSON config files, taken over once: in the layout of the TOML ones, or in that of llama-cpp-python's server.

A note tells of each key that is not taken over, or not as it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Final, cast, get_type_hints

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from core.contract.declared import Declared
from core.contract.options import KvType, LayerWord
from core.decoding.speculate import MTP, PROMPT_LOOKUP
from core.errors import ConfigError, ModelNotFound
from core.settings.check import build_error, convert_values
from core.settings.llama_cpp_server import (
    AS_DEFAULT,
    CHANGES_ANSWERS,
    CHANGES_SPEED,
    DECLARED,
    GGML_TYPES,
    HEADS,
    LOOKUP,
    MODEL,
    POOLINGS,
    SPLIT_MODES,
    DiskCache,
    FromPretrained,
    LlamaConfig,
    ModelOptions,
)
from core.settings.merge import Tree
from core.wrong_values import list_structs

SMALLEST_CONTEXT_TOKENS: Final = 16
DRAFTS: Final = {LOOKUP: PROMPT_LOOKUP, HEADS: MTP}
"""What guesses ahead, by its name there."""


class Imported(Struct, frozen=True):
    sections: Tree
    """By our sections, not yet checked."""
    notes: tuple[str, ...] = ()
    """A sentence for each key that is not taken over, or not as it was."""


def import_json(data: bytes, path: Path, settings: type[Struct]) -> Imported:
    """What the JSON of a file at `path` says. Paths in it that are not there from here, but from the file's folder, are
    taken from there. Raises ConfigError."""
    try:
        content: object = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"The file {path} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"The file {path} holds no object of sections; it begins with {{ and ends with }}.")
    if not _is_llama(content, settings):
        return Imported(_given(content))
    return _Translation(content, path).imported()


def _is_llama(content: Mapping[str, object], settings: type[Struct]) -> bool:
    """By its keys: a section or a key of a model that only llama-cpp-python's configs have."""
    own = next(list_structs(get_type_hints(settings)["model"])).__struct_fields__
    model = content.get("model")
    foreign = set(MODEL.__struct_fields__) - set(own)
    return "disk_cache" in content or (isinstance(model, Mapping) and not foreign.isdisjoint(model))


def _given(tree: Tree) -> Tree:
    """Without what is null."""
    return {
        key: _given(value) if isinstance(value, Mapping) else value for key, value in tree.items() if value is not None
    }


class _Translation:
    """From the sections of one file to ours, noting what does not come along."""

    def __init__(self, content: Mapping[str, object], path: Path) -> None:
        """Raises ConfigError for what llama-cpp-python's server would not understand either."""
        self._source = f"the file {path}"
        self._folder = path.parent
        self._config = convert_values(content, LlamaConfig, self._source)
        self._model = cast(ModelOptions, convert_values(self._config.model, MODEL, self._source, prefix="model"))
        self._notes: list[str] = []

    def imported(self) -> Imported:
        """The model becomes an entry of `[models]`. Raises ConfigError where it cannot tell which model it is."""
        model = self._model
        self._note_unused()
        profile = {
            "source": self._named_source(),
            **{each.name: self._load_option(name, each) for name, each in DECLARED.items()},
            "ctx_size": self._context(),
            "kv_type": self._kv_type(),
            "gpu_layers": self._gpu_layers(),
            "split_mode": self._name_number("split_mode", SPLIT_MODES),
            "pooling": self._pooling(),
            "tensor_split": self._model.tensor_split,
            "loras": self._loras(),
            "response_schema": json.dumps(model.response_schema) if model.response_schema else None,
            "draft": DRAFTS.get(model.draft_model or ""),
        }
        server = {"server": asdict(self._config.server)} if self._config.server else {}
        name = model.alias or _stem(model)
        cache = {"cache": self._cache(self._config.disk_cache)} if self._config.disk_cache else {}
        return Imported(_given({**server, **cache, "models": {name: profile}}), tuple(self._notes))

    def _cache(self, disk: DiskCache) -> Tree:
        size = None if disk.max_bytes is None else str(disk.max_bytes)
        folder = disk.path if disk.path is None or disk.path.startswith("~") else str(Path.cwd() / disk.path)
        return {"disk_folder": folder, "disk_size": size, "disk_min_tokens": disk.min_tokens}

    def _load_option(self, name: str, declared: Declared) -> object:
        """The value, within the bounds that it has here."""
        value: object = getattr(self._model, name)
        if not isinstance(value, int) or isinstance(value, bool):
            return value
        least = min(1, int(declared.least or 0))
        if value < least:
            raise build_error(self._source, f"model.{name}: {value} is too small; at least {least}.")
        within = int(max(declared.least or value, min(value, declared.most or value)))
        if within != value:
            self._notes.append(
                f"model.{name} is taken as {within}, not {value}; it may be {declared.least} to {declared.most}."
            )
        return within

    def _note_unused(self) -> None:
        model = self._model
        for key, what in CHANGES_ANSWERS.items():
            if _asks(model, key):
                self._notes.append(
                    f"model.{key} ({what}) is not taken over: this version cannot do it, and answers will differ."
                )
        for key, instead in CHANGES_SPEED.items():
            if _asks(model, key):
                self._notes.append(f"model.{key} is not taken over: {instead}.")
        self._note_drafting()
        if model.from_pretrained is not None:
            self._note_fetching(model.from_pretrained)

    def _note_drafting(self) -> None:
        """What is not taken over of the keys that begin with `draft_model`."""
        model = self._model
        given = [
            key for key in model.__struct_fields__ if key.startswith("draft_model") and getattr(model, key) is not None
        ]
        names = ", ".join(f"model.{key}" for key in given if model.draft_model not in DRAFTS or key != "draft_model")
        if model.draft_model not in (None, *DRAFTS):
            self._notes.append(f"{names}: not taken over; `draft` of a model may name a smaller model here.")
        elif names:
            self._notes.append(f"{names}: not taken over; how much is guessed follows what comes true.")

    def _note_fetching(self, wanted: FromPretrained) -> None:
        """Where files go, and files that do not come along with the model's own."""
        from core.names import SPLIT

        section = "model.from_pretrained"
        stem = SPLIT.sub("", wanted.filename)
        files = wanted.additional_files or ()
        others = [file for file in files if stem == wanted.filename or SPLIT.sub("", file) != stem]
        if others:
            self._notes.append(
                f"{section}.additional_files: {', '.join(others)} will not be fetched; only the parts of a model are."
            )
        self._notes += [
            f"{section}.{key} is not taken over: models are kept in the Hub's cache, which HF_HUB_CACHE moves."
            for key in ("cache_dir", "local_dir")
            if getattr(wanted, key) is not None
        ]

    def _named_source(self) -> str:
        model = self._model
        if (model.path is None) == (model.from_pretrained is None):
            raise build_error(self._source, "model wants either path or from_pretrained, and one of them alone.")
        if model.from_pretrained is not None:
            return _hub_name(model.from_pretrained, self._source)
        return self._file(model.path or "", "model.path")

    def _file(self, text: str, key: str) -> str:
        """A file as the config file names it, which is read wherever `tui` is started."""
        path = Path(text)
        if path.is_absolute() or text.startswith("~"):
            return text
        for folder in (Path.cwd(), self._folder.absolute()):
            if (folder / path).exists():
                return str(folder / path)
        self._notes.append(f"{key}: {text} is not there, neither from here nor beside the file; correct the path.")
        # A relative path must not be taken for a repository of the Hub.
        return text if text.startswith(".") else f"./{text}"

    def _context(self) -> int | None:
        """Tokens that one request may hold. Divided caches give each sequence its part of `n_ctx`; zero is "as
        trained"."""
        model = self._model
        whole = model.n_ctx or None
        if whole is not None and model.kv_unified is False:
            whole //= model.n_seq_max or 1
        wanted = [each for each in (whole, model.max_seq_len) if each is not None]
        if wanted and min(wanted) < SMALLEST_CONTEXT_TOKENS:
            raise build_error(
                self._source,
                f"model.n_ctx: a request would hold {min(wanted)} tokens; {SMALLEST_CONTEXT_TOKENS} are the fewest.",
            )
        return min(wanted, default=None)

    def _kv_type(self) -> str | None:
        """A missing type of keys or of values is f16, as llama.cpp has it."""
        if self._model.type_k is None and self._model.type_v is None:
            return None
        keys, values = (1 if each is None else each for each in (self._model.type_k, self._model.type_v))
        if keys in GGML_TYPES and values in GGML_TYPES:
            named = [GGML_TYPES[each].value for each in dict.fromkeys((keys, values))]
            if (found := "/".join(named)) in {kind.value for kind in KvType}:
                return found
        known = ", ".join(f"{number} ({kind.value})" for number, kind in GGML_TYPES.items())
        self._notes.append(
            f"model.type_k and model.type_v ({keys} and {values}) are not taken over: known are {known} for "
            "both, and pairs of f16, q8_0 and q4_0; choose one as `kv_type` of the model."
        )
        return None

    def _gpu_layers(self) -> int | str | None:
        layers = self._model.n_gpu_layers
        if layers is None or layers >= 0:
            return layers
        self._notes.append(
            f"model.n_gpu_layers: {layers} means all layers there; here it is `auto`, as many of them as fit."
        )
        return LayerWord.AUTO.value

    def _pooling(self) -> str | None:
        """Below zero it is the model's own; and it is nothing to a server that makes no vectors."""
        model = self._model
        if model.embedding is False or model.pooling_type is None or model.pooling_type < 0:
            return None
        return self._name_number("pooling_type", POOLINGS)

    def _name_number(self, key: str, names: Mapping[int, Enum]) -> str | None:
        """What a number of llama.cpp's is called here."""
        number = getattr(self._model, key)
        if number is None:
            return None
        if number in names:
            return str(names[number].value)
        known = ", ".join(f"{each} ({name.value})" for each, name in names.items())
        self._notes.append(f"model.{key} ({number}) is not taken over: known are {known}.")
        return None

    def _loras(self) -> list[dict[str, object]] | None:
        found: list[dict[str, object]] = []
        for at, lora in enumerate(self._model.loras or ()):
            if lora.path is None or lora.from_pretrained is not None:
                self._notes.append(
                    f"model.loras[{at}] is not taken over, and answers will differ: adapters are files here; download "
                    "it, and give its path."
                )
            else:
                found.append({"path": self._file(lora.path, f"model.loras[{at}]"), "scale": lora.scale})
        return found or None


def _asks(model: ModelOptions, key: str) -> bool:
    """Whether a key that is no load option was given, with a value that differs from what is done anyway."""
    value = getattr(model, key)
    return key not in DECLARED and value is not None and (key not in AS_DEFAULT or value != AS_DEFAULT[key])


def _stem(model: ModelOptions) -> str:
    name = model.from_pretrained.filename if model.from_pretrained else model.path or ""
    if "*" in name and model.from_pretrained:
        name = model.from_pretrained.repo_id
    return PurePosixPath(name.replace("\\", "/")).name.removesuffix(".gguf") or "model"


def _hub_name(wanted: FromPretrained, source: str) -> str:
    from core.names import HubName, parse_name

    if any(each in wanted.filename for each in "*?["):
        text = f"{wanted.repo_id}:{_label(wanted.filename, source)}"
    else:
        text = f"{wanted.repo_id}/{wanted.filename}"
    try:
        name = parse_name(text)
    except ModelNotFound as error:
        raise build_error(source, f"model.from_pretrained: {error}") from error
    if not isinstance(name, HubName):
        raise build_error(
            source, f"model.from_pretrained: {text!r} is no file of a repository; write repo_id as owner/name."
        )
    return str(name)


def _label(pattern: str, source: str) -> str:
    """The quant that a pattern tells, as `*Q4_K_M.gguf` does."""
    from core.names import GGUF_LABEL

    labels = GGUF_LABEL.findall(pattern.replace("*", "-").removesuffix(".gguf"))
    if len(labels) != 1:
        raise build_error(
            source, f"model.from_pretrained.filename: the pattern {pattern!r} tells no quant; write the file's name."
        )
    return str(labels[0])
