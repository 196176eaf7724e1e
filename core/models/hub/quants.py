"""Which files of a repository make up one model to run: pure grouping by their names, as publishers choose them."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from msgspec import Struct

from core.contract.artifact import FormatName
from core.models.formats.detect import ENCODERS
from core.models.hub.repository import Quant, RepoFile
from core.names import GGUF_LABEL, MOST_LETTERS, SPLIT

PLAIN_LABELS: Final = {"FP16": "F16", "FP32": "F32"}
NAMED_BITS: Final = re.compile(
    r"(?:^|[-_.])(\d{1,2})[-_]?bit(?:$|[-_.])|(?:^|[-_.])(bf16|fp16|fp8|mxfp4)(?:$|[-_.])", re.IGNORECASE
)
ROOT_FILES: Final = (".json", ".jinja", ".model", ".txt", ".tiktoken")
"""Ends of the small files beside the weights: configurations, tokenizers, templates."""
NEVER: Final = frozenset({"README.txt", "LICENSE.txt", "requirements.txt", "onnx_config.json"})
EMBEDDER_FILES: Final = ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json")
ONNX_DATA: Final = re.compile(r"\.onnx([_.]data)(_\d+)?$")
WHISPER_FILE: Final = re.compile(r"ggml-(?!.*encoder)(.+)\.bin$")
QUANTIZED: Final = re.compile(r"(?:^|[-._ ])(?:I?Q\d|TQ\d|MXFP4|NVFP4|BF16|FP?16|FP?32)", re.IGNORECASE)
"""Whatever looks as if it told a quantization, known or not (`IQ2XXS`)."""
CALIBRATION: Final = re.compile(r"(?:^imatrix(?:$|[-._ ])|(?:^|[-._ ])imatrix$)", re.IGNORECASE)
"""A name that begins or ends so is an importance matrix, unless it tells a quantization: then it is made with one."""
HEAD_FOLDER: Final = re.compile(r"(?:^|/)(?:mtp|eagle\d*|drafts?)/", re.IGNORECASE)
HEAD_NAME: Final = re.compile(r"(?:mtp|eagle\d*|draft|dflash)[-_.]", re.IGNORECASE)
"""What only drafts for a model beside it: `MTP/...`, `mtp-...`, `eagle3-...`, `draft-...`, `dflash-...`."""
TOLD_LAST: Final = re.compile(r"[-_.]mtp\.gguf$", re.IGNORECASE)
"""`...-MTP.gguf`: a head, or a whole model that has one inside; its size tells."""
HEAD_SHARE: Final = 5
"""A head is smaller than the smallest model beside it by this factor; whole models in one and in four bits are not."""
TWIN_SHARE: Final = 2
"""Of models with one label, those smaller than the largest by this factor are less likely to be meant."""
UNWRITABLE: Final = re.compile(r"[^A-Za-z0-9._+-]+")


def group(
    repo: str, revision: str, files: Sequence[RepoFile], *, weights_label: str | None = None, model_type: str = ""
) -> tuple[Quant, ...]:
    """All quants, smallest first, no label twice. `weights_label` and `model_type` come of config.json, if it was
    read; without it the label of safetensors is guessed by the repository's name."""
    named = label_by_name(repo)
    made: dict[str, Quant] = {}
    found = (
        *_gguf(files),
        *_safetensors(files, weights_label or named, named),
        *_genai(files),
        *_onnx(files, model_type),
        *_whisper(files),
        *_mnn(files),
        *_pte(files),
    )
    for each in _likeliest_first(found):
        names = _spellings(each)
        # A second model with the same label is known by its file's name, or by its whole path.
        label = next((name for name in names if name.lower() not in made), names[-1])
        also = tuple(name for name in names if name.lower() != label.lower())
        made[label.lower()] = Quant(repo, revision, label, each.format, tuple(each.members), also)
    return tuple(sorted(made.values(), key=lambda quant: (quant.size, quant.label)))


def projectors(files: Iterable[RepoFile]) -> tuple[RepoFile, ...]:
    return tuple(file for file in files if _is_projector(file.path))


def heads(files: Sequence[RepoFile]) -> tuple[RepoFile, ...]:
    """The GGUF files that only draft for a model beside them; none where there is no such model."""
    models = {file.path for members in _mains(files) for file in members}
    return tuple(file for file in files if _is_weights(file.path) and file.path not in models and _may_be_head(file))


def gguf_label(path: str) -> str:
    """Of a file's name without its part number, else of its folder's; the whole path where neither tells one."""
    stem = _stem(path)
    for part in reversed(stem.split("/")):
        if labels := GGUF_LABEL.findall(part):
            label = str(labels[-1]).upper()
            return PLAIN_LABELS.get(label, label)
    return stem.replace("/", "-")


def label_by_name(repo: str) -> str:
    """`4bit`, `bf16` ... where a repository's name tells it, else `safetensors`."""
    found = NAMED_BITS.search(repo.rpartition("/")[2])
    if found is None:
        return "safetensors"
    return f"{found[1]}bit" if found[1] else found[2].lower()


class _Set(Struct, frozen=True):
    """The files of one model."""

    names: tuple[str, ...]
    """What it may be called, the shortest first. They follow from its own files alone: a model goes by each of them
    whatever else is there, so that what was called by one where all is listed is found where only it was fetched."""
    format: FormatName
    members: list[RepoFile]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.members)


def _likeliest_first(found: Sequence[_Set]) -> list[_Set]:
    """In the order in which labels are given out: GGUF before other formats, and small ones of a label last."""
    largest: dict[str, int] = defaultdict(int)
    for each in found:
        largest[each.names[0].lower()] = max(each.size, largest[each.names[0].lower()])

    def rank(each: _Set) -> tuple[bool, bool, int, str]:
        path = each.members[0].path
        small = each.size * TWIN_SHARE < largest[each.names[0].lower()]
        return each.format != "gguf", small, len(path), path

    return sorted(found, key=rank)


def _spellings(each: _Set) -> tuple[str, ...]:
    """Its names as they can be written behind a colon, each once; the last holds a mark of its path, for two names may
    become one where they are written so."""
    made: dict[str, str] = {}
    for name in each.names:
        word = UNWRITABLE.sub("-", name).lstrip("._+-")[:MOST_LETTERS] or "model"
        made.setdefault(word.lower(), word)
    mark = hashlib.sha256(os.fsencode(each.members[0].path)).hexdigest()[:6]
    return *made.values(), f"{word[: MOST_LETTERS - 7]}-{mark}"


def _by_path(label: str, path: str, prefix: str = "") -> tuple[str, ...]:
    """A label, the file's name and its path."""
    stem = _stem(path)
    return label, prefix + stem.rpartition("/")[2], prefix + stem.replace("/", "-")


def _stem(path: str) -> str:
    """A path without the number of a part and without its ending."""
    return str(PurePosixPath(SPLIT.sub(".gguf", path)).with_suffix(""))


def _gguf(files: Sequence[RepoFile]) -> Iterator[_Set]:
    for members in _mains(files):
        part = SPLIT.search(members[0].path)
        # A split file of which parts are missing cannot be run.
        if part is None or len(members) == int(part[2]):
            path = members[0].path
            yield _Set(_by_path(gguf_label(path), path), "gguf", members)


def _mains(files: Sequence[RepoFile]) -> list[list[RepoFile]]:
    """The GGUF files without heads, parts of a split one together; all where every name is a head's, for then the
    names mislead."""
    sets: dict[str, list[RepoFile]] = defaultdict(list)
    for file in files:
        if _is_weights(file.path):
            sets[SPLIT.sub("", file.path)].append(file)
    together = [sorted(members, key=lambda file: file.path) for members in sets.values()]
    mains = [members for members in together if not _is_head(members[0].path)]
    plain = [members for members in mains if not TOLD_LAST.search(members[0].path)]
    least = min((_total(members) for members in plain), default=0)
    return [each for each in mains if each in plain or _total(each) * HEAD_SHARE >= least] or together


def _total(files: Iterable[RepoFile]) -> int:
    return sum(file.size for file in files)


def _safetensors(files: Sequence[RepoFile], label: str, named: str) -> Iterator[_Set]:
    """The whole folder, without what the same weights are stored in besides."""
    weights = [file for file in files if "/" not in file.path and file.path.endswith(".safetensors")]
    model = [file for file in weights if file.path.startswith("model")] or weights
    if model and any(file.path == "config.json" for file in files):
        yield _Set((label, "safetensors", named), "mlx", [*_beside(files), *model])


def _onnx(files: Sequence[RepoFile], model_type: str) -> Iterator[_Set]:
    names = {file.path for file in files}
    if "config.json" not in names or any(path.endswith("genai_config.json") for path in names):
        return
    embeds = not names.isdisjoint(EMBEDDER_FILES[:2]) or model_type in ENCODERS
    format_ = "onnx-embedder" if embeds else "onnx"
    extra = [file for file in files if file.path in EMBEDDER_FILES and "/" in file.path]
    for file in files:
        folder, _, name = file.path.rpartition("/")
        if folder in ("", "onnx") and name.startswith("model") and name.endswith(".onnx"):
            label = name.removesuffix(".onnx").removeprefix("model").removeprefix("_") or "fp32"
            data = [
                each for each in files if ONNX_DATA.search(each.path) and ONNX_DATA.sub(".onnx", each.path) == file.path
            ]
            called = _by_path(f"onnx-{label}", file.path, "" if folder else "onnx-")
            yield _Set(called, format_, [*_beside(files), *extra, file, *data])


def _genai(files: Sequence[RepoFile]) -> Iterator[_Set]:
    """Each folder with a genai_config.json, whole; its label is the last folder's name."""
    for file in files:
        folder, _, name = file.path.rpartition("/")
        if name == "genai_config.json":
            members = [each for each in files if each.path.rpartition("/")[0] == folder and each is not file]
            parts = folder.split("/") if folder else []
            called = "-".join(("genai", *parts[-1:])), "-".join(("genai", *parts))
            rest = (each for each in members if not _is_talk(each.path))
            yield _Set(called, "onnx-genai", [file, *rest])


def _whisper(files: Sequence[RepoFile]) -> Iterator[_Set]:
    for file in files:
        if found := WHISPER_FILE.fullmatch(file.path):
            yield _Set((found[1], f"whisper-{found[1]}"), "ggml-whisper", [file])


def _mnn(files: Sequence[RepoFile]) -> Iterator[_Set]:
    graphs = [file for file in files if "/" not in file.path and file.path.endswith((".mnn", ".mnn.weight"))]
    if any(file.path.endswith(".mnn") for file in graphs):
        others = [file for file in files if "/" not in file.path and file.path.endswith((".bin", ".mtok"))]
        yield _Set(("mnn",), "mnn", [*_beside(files), *others, *graphs])


def _pte(files: Sequence[RepoFile]) -> Iterator[_Set]:
    for file in files:
        if not file.path.endswith(".pte"):
            continue
        _, name, path = _by_path("", file.path, "pte-")
        data = [each for each in files if each.path == f"{file.path.removesuffix('.pte')}.ptd"]
        names = ("pte", name, path) if name == "pte-model" else (name, path, "pte")
        yield _Set(names, "pte", [*_beside(files), file, *data])


def _beside(files: Iterable[RepoFile]) -> list[RepoFile]:
    """The small files at the top: config.json first, then tokenizers and the rest by name."""
    small = [
        file
        for file in files
        if "/" not in file.path
        and file.path.endswith(ROOT_FILES)
        and file.path not in NEVER
        and not _is_talk(file.path)
    ]
    return sorted(small, key=lambda file: (file.path != "config.json", file.path))


def _is_projector(path: str) -> bool:
    return "mmproj" in path.rpartition("/")[2].lower() and path.lower().endswith(".gguf")


def _is_weights(path: str) -> bool:
    """Whether a file is a GGUF one that may be a model's: no projector, and no importance matrix."""
    if not path.lower().endswith(".gguf") or _is_projector(path):
        return False
    name = _stem(path).rpartition("/")[2]
    return not CALIBRATION.search(name) or QUANTIZED.search(name) is not None


def _is_head(path: str) -> bool:
    return HEAD_FOLDER.search(path) is not None or HEAD_NAME.match(path.rpartition("/")[2]) is not None


def _may_be_head(file: RepoFile) -> bool:
    return _is_head(file.path) or TOLD_LAST.search(file.path) is not None


def _is_talk(path: str) -> bool:
    return path.endswith((".md", ".png", ".jpg", ".gitattributes"))


def formats_of(names: Iterable[str]) -> frozenset[FormatName]:
    """The formats a repository holds, by its files' names alone."""
    files = [RepoFile(name, 0) for name in names]
    return frozenset(quant.format for quant in group("owner/name", "", files))


def sizes_of(files: Iterable[RepoFile]) -> Mapping[str, int]:
    return {file.path: file.size for file in files}
