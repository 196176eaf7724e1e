"""Which GGUF files of a repository are models, and which go with one: by their names, as publishers choose them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from core.models.formats.listing import cut_stem, sum_bytes
from core.names import GGUF_LABEL, SPLIT

PLAIN_LABELS: Final = {"FP16": "F16", "FP32": "F32"}
QUANTIZED: Final = re.compile(r"(?:^|[-._ ])(?:I?Q\d|TQ\d|MXFP4|NVFP4|BF16|FP?16|FP?32)", re.IGNORECASE)
"""Names that look like a quantization, known or not (`IQ2XXS`)."""
CALIBRATION: Final = re.compile(r"(?:^imatrix(?:$|[-._ ])|(?:^|[-._ ])imatrix$)", re.IGNORECASE)
"""A name that begins or ends so is an importance matrix, unless it tells a quantization: then it is made with one."""
HEAD_FOLDER: Final = re.compile(r"(?:^|/)(?:mtp|eagle\d*|drafts?)/", re.IGNORECASE)
HEAD_NAME: Final = re.compile(r"(?:mtp|eagle\d*|draft|dflash)[-_.]", re.IGNORECASE)
"""Heads, which only draft for a model beside them: `MTP/...`, `mtp-...`, `eagle3-...`, `draft-...`, `dflash-...`."""
TOLD_LAST: Final = re.compile(r"[-_.]mtp\.gguf$", re.IGNORECASE)
"""`...-MTP.gguf`: a head, or a whole model that has one inside; its size tells."""
HEAD_SHARE: Final = 5
"""A head is smaller than the smallest model beside it by this factor; whole models in one and in four bits are not."""


def label_gguf(path: str) -> str:
    """Of a file's name without its part number, else of its folder's; the whole path where neither tells one."""
    stem = cut_stem(path)
    for part in reversed(stem.split("/")):
        if labels := GGUF_LABEL.findall(part):
            label = str(labels[-1]).upper()
            return PLAIN_LABELS.get(label, label)
    return stem.replace("/", "-")


def list_model_files(sizes: Mapping[str, int]) -> list[list[str]]:
    """The GGUF files without heads, parts of a split one together; all where every name is a head's, for then the
    names mislead."""
    sets: dict[str, list[str]] = defaultdict(list)
    for path in sizes:
        if _is_weights(path):
            sets[SPLIT.sub("", path)].append(path)
    together = [sorted(files) for files in sets.values()]
    mains = [files for files in together if not _is_head(files[0])]
    plain = [files for files in mains if not TOLD_LAST.search(files[0])]
    least = min((sum_bytes(files, sizes) for files in plain), default=0)
    return [each for each in mains if each in plain or sum_bytes(each, sizes) * HEAD_SHARE >= least] or together


def list_projector_files(sizes: Mapping[str, int]) -> list[str]:
    """The files that let a model beside them see or hear."""
    return [path for path in sizes if _is_projector(path)]


def list_head_files(sizes: Mapping[str, int]) -> list[str]:
    """The GGUF files that only draft for a model beside them; none where there is no such model."""
    models = {path for files in list_model_files(sizes) for path in files}
    return [path for path in sizes if _is_weights(path) and path not in models and _may_be_head(path)]


def _is_projector(path: str) -> bool:
    return "mmproj" in path.rpartition("/")[2].lower() and path.lower().endswith(".gguf")


def _is_weights(path: str) -> bool:
    """Whether a file is a GGUF one that may be a model's: no projector, and no importance matrix."""
    if not path.lower().endswith(".gguf") or _is_projector(path):
        return False
    name = cut_stem(path).rpartition("/")[2]
    return not CALIBRATION.search(name) or QUANTIZED.search(name) is not None


def _is_head(path: str) -> bool:
    return HEAD_FOLDER.search(path) is not None or HEAD_NAME.match(path.rpartition("/")[2]) is not None


def _may_be_head(path: str) -> bool:
    return _is_head(path) or TOLD_LAST.search(path) is not None
