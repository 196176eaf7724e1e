"""Which files of a repository make up one model to run: pure grouping by their names, as publishers choose them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from core.engines.base import ArtifactFormat
from core.models.formats import ENCODERS
from core.models.headers.reading import SPLIT
from core.models.repository import Quant, RepoFile

GGUF_LABEL: Final = re.compile(
    r"(?:^|[-._ ])((?:UD-)?(?:"
    r"I?Q\d(?:_K|_\d)?(?:_(?:XXS|XS|S|M|L|XL|XXL|NL))?(?:_\d+)*"
    r"|TQ\d_\d|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|FP?32"
    r"))(?=$|[-._ ])",
    re.IGNORECASE,
)
"""`Q4_K_M`, `IQ2_XXS`, `UD-Q4_K_XL`, `Q4_0_4_4`, `MXFP4_MOE`, `BF16` ... between dashes or dots."""
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


def group(
    repo: str, revision: str, files: Sequence[RepoFile], *, weights_label: str | None = None, model_type: str = ""
) -> tuple[Quant, ...]:
    """All quants, smallest first, no label twice. `weights_label` and `model_type` come of config.json, if it was
    read; without it the label of safetensors is guessed by the repository's name."""
    made: dict[str, Quant] = {}
    taken: set[str] = set()
    found = (
        *_gguf(files),
        *_safetensors(files, weights_label or label_by_name(repo)),
        *_genai(files),
        *_onnx(files, model_type),
        *_whisper(files),
        *_mnn(files),
        *_pte(files),
    )
    for label, format_, members in sorted(found, key=lambda each: (len(each[2][0].path), each[2][0].path)):
        # A second model with the same label is known by its file's name.
        key = PurePosixPath(members[0].path).stem if label.lower() in taken else label
        if key not in made:
            taken.add(key.lower())
            made[key] = Quant(repo, revision, key, format_, tuple(members))
    return tuple(sorted(made.values(), key=lambda quant: (quant.size, quant.label)))


def projectors(files: Iterable[RepoFile]) -> tuple[RepoFile, ...]:
    return tuple(file for file in files if _is_projector(file.path))


def gguf_label(path: str) -> str:
    """Of a file's name without its part number, else of its folder's; the whole stem where neither tells one."""
    stem = SPLIT.sub("", path).removesuffix(".gguf").removesuffix(".GGUF")
    for part in reversed(stem.split("/")):
        if labels := GGUF_LABEL.findall(part):
            label = str(labels[-1]).upper()
            return PLAIN_LABELS.get(label, label)
    return stem.rpartition("/")[2]


def label_by_name(repo: str) -> str:
    """`4bit`, `bf16` ... where a repository's name tells it, else `safetensors`."""
    found = NAMED_BITS.search(repo.rpartition("/")[2])
    if found is None:
        return "safetensors"
    return f"{found[1]}bit" if found[1] else found[2].lower()


_Set = tuple[str, ArtifactFormat, list[RepoFile]]


def _gguf(files: Sequence[RepoFile]) -> Iterator[_Set]:
    sets: dict[str, list[RepoFile]] = defaultdict(list)
    for file in files:
        if file.path.lower().endswith(".gguf") and not _is_projector(file.path) and "imatrix" not in file.path.lower():
            sets[SPLIT.sub("", file.path)].append(file)
    for members in sets.values():
        members.sort(key=lambda file: file.path)
        part = SPLIT.search(members[0].path)
        # A split file of which parts are missing cannot be run.
        if part is None or len(members) == int(part[2]):
            yield gguf_label(members[0].path), ArtifactFormat.GGUF, members


def _safetensors(files: Sequence[RepoFile], label: str) -> Iterator[_Set]:
    """The whole folder, without what the same weights are stored in besides."""
    weights = [file for file in files if "/" not in file.path and file.path.endswith(".safetensors")]
    model = [file for file in weights if file.path.startswith("model")] or weights
    if model and any(file.path == "config.json" for file in files):
        yield label, ArtifactFormat.MLX, [*_beside(files), *model]


def _onnx(files: Sequence[RepoFile], model_type: str) -> Iterator[_Set]:
    names = {file.path for file in files}
    if "config.json" not in names or any(path.endswith("genai_config.json") for path in names):
        return
    embeds = not names.isdisjoint(EMBEDDER_FILES[:2]) or model_type in ENCODERS
    format_ = ArtifactFormat.ONNX_EMBEDDER if embeds else ArtifactFormat.ONNX
    extra = [file for file in files if file.path in EMBEDDER_FILES and "/" in file.path]
    for file in files:
        folder, _, name = file.path.rpartition("/")
        if folder in ("", "onnx") and name.startswith("model") and name.endswith(".onnx"):
            label = name.removesuffix(".onnx").removeprefix("model").removeprefix("_") or "fp32"
            data = [
                each for each in files if ONNX_DATA.search(each.path) and ONNX_DATA.sub(".onnx", each.path) == file.path
            ]
            yield f"onnx-{label}", format_, [*_beside(files), *extra, file, *data]


def _genai(files: Sequence[RepoFile]) -> Iterator[_Set]:
    """Each folder with a genai_config.json, whole; its label is the last folder's name."""
    for file in files:
        folder, _, name = file.path.rpartition("/")
        if name == "genai_config.json":
            members = [each for each in files if each.path.rpartition("/")[0] == folder and each is not file]
            label = f"genai-{folder.rpartition('/')[2]}" if folder else "genai"
            yield label, ArtifactFormat.ONNX_GENAI, [file, *(each for each in members if not _is_talk(each.path))]


def _whisper(files: Sequence[RepoFile]) -> Iterator[_Set]:
    for file in files:
        if found := WHISPER_FILE.fullmatch(file.path):
            yield found[1], ArtifactFormat.WHISPER, [file]


def _mnn(files: Sequence[RepoFile]) -> Iterator[_Set]:
    graphs = [file for file in files if "/" not in file.path and file.path.endswith((".mnn", ".mnn.weight"))]
    if any(file.path.endswith(".mnn") for file in graphs):
        others = [file for file in files if "/" not in file.path and file.path.endswith((".bin", ".mtok"))]
        yield "mnn", ArtifactFormat.MNN, [*_beside(files), *others, *graphs]


def _pte(files: Sequence[RepoFile]) -> Iterator[_Set]:
    programs = [file for file in files if file.path.endswith(".pte")]
    for file in programs:
        label = "pte" if len(programs) == 1 else f"pte-{PurePosixPath(file.path).stem}"
        data = [each for each in files if each.path == f"{file.path.removesuffix('.pte')}.ptd"]
        yield label, ArtifactFormat.PTE, [*_beside(files), file, *data]


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


def _is_talk(path: str) -> bool:
    return path.endswith((".md", ".png", ".jpg", ".gitattributes"))


def formats_of(names: Iterable[str]) -> frozenset[ArtifactFormat]:
    """The formats a repository holds, by its files' names alone."""
    files = [RepoFile(name, 0) for name in names]
    return frozenset(quant.format for quant in group("owner/name", "", files))


def sizes_of(files: Iterable[RepoFile]) -> Mapping[str, int]:
    return {file.path: file.size for file in files}
