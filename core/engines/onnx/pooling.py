"""From the vectors of tokens to the vector of a text, as the files of sentence-transformers describe it.

`modules.json` lists the steps, `1_Pooling/config.json` says how tokens are pooled; see
https://sbert.net/docs/package_reference/sentence_transformer/modules.html.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from core.contract.options import Pooling
from core.engines.onnx.folder import ModelFolder
from core.errors import ArtifactError, LoadFailed

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.int64]

LOWEST: Final = np.float32(1e-12)
"""What a vector is divided by at least."""


class Mode(Enum):
    """How tokens are pooled, in the order in which several are put side by side."""

    CLS = "cls"
    MAX = "max"
    MEAN = "mean"
    ROOT = "mean_sqrt_len_tokens"
    WEIGHTED = "weightedmean"
    LAST = "lasttoken"


FLAGS: Final[Mapping[str, Mode]] = {
    "pooling_mode_cls_token": Mode.CLS,
    "pooling_mode_max_tokens": Mode.MAX,
    "pooling_mode_mean_tokens": Mode.MEAN,
    "pooling_mode_mean_sqrt_len_tokens": Mode.ROOT,
    "pooling_mode_weightedmean_tokens": Mode.WEIGHTED,
    "pooling_mode_lasttoken": Mode.LAST,
}


WANTED: Final[Mapping[Pooling, Mode]] = {
    Pooling.MEAN: Mode.MEAN,
    Pooling.CLS: Mode.CLS,
    Pooling.LAST: Mode.LAST,
}
"""What the setting `pooling` may say."""


class Recipe(Struct, frozen=True):
    """What happens to the tokens of a text before and after the graph."""

    modes: tuple[Mode, ...] = (Mode.MEAN,)
    normalize: bool = True
    lowercase: bool = False
    limit: int | None = None
    """Tokens of a text, as far as the makers say it."""
    unfinished: tuple[str, ...] = ()
    """Steps that only the graph itself can have done."""
    assumed: bool = False
    """Nothing is said, and the pooling is the usual one."""

    @property
    def words(self) -> str:
        how = " and ".join(mode.value for mode in self.modes)
        return f"{how} pooling, {'normalised' if self.normalize else 'not normalised'}"


def read_recipe(folder: ModelFolder, wanted: Pooling | None = None) -> Recipe:
    """What the folder says, with another pooling where that is `wanted`. Raises ArtifactError for a damaged file,
    LoadFailed for a pooling nobody knows, and for one that is none of vectors."""
    if wanted is not None and wanted not in WANTED:
        raise LoadFailed(folder.name, f"{folder.name} makes vectors; --pooling {wanted.value} is for rerankers.")
    steps = _steps(folder)
    kinds = [kind for kind, _ in steps]
    pooling = next((path for kind, path in steps if kind == "Pooling"), "1_Pooling")
    config = folder.read(f"{pooling}/config.json")
    transformer = folder.read("sentence_bert_config.json")
    limit = transformer.get("max_seq_length")
    return Recipe(
        modes=_modes(folder.name, config) if wanted is None else (WANTED[wanted],),
        normalize="Normalize" in kinds or not steps,
        lowercase=transformer.get("do_lower_case") is True,
        limit=limit if isinstance(limit, int) and limit > 0 else None,
        unfinished=tuple(kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")),
        assumed=not config and wanted is None,
    )


def pool_vectors(vectors: Floats, mask: Mask, modes: Sequence[Mode]) -> Floats:
    """(texts, width * modes) of the tokens' vectors (texts, length, width); `mask` is one where a token is."""
    kept = mask[:, :, None].astype(np.float32)
    return np.concatenate([_pooled(vectors, kept, mode) for mode in modes], axis=-1)


def normalize_vectors(vectors: Floats) -> Floats:
    """Each of length one."""
    lengths: Floats = np.linalg.norm(vectors, axis=-1, keepdims=True)
    made: Floats = (vectors / np.maximum(lengths, LOWEST)).astype(np.float32)
    return made


def _pooled(vectors: Floats, kept: Floats, mode: Mode) -> Floats:
    match mode:
        case Mode.CLS:
            made: Floats = vectors[:, 0]
        case Mode.LAST:
            last = kept[:, :, 0].astype(np.int64).sum(axis=1) - 1
            made = vectors[np.arange(len(vectors)), last]
        case Mode.MAX:
            made = np.where(kept > 0, vectors, -np.inf).max(axis=1)
        case Mode.ROOT:
            made = (vectors * kept).sum(axis=1) / np.sqrt(kept.sum(axis=1))
        case Mode.WEIGHTED:
            positions = kept * np.arange(1, kept.shape[1] + 1, dtype=np.float32)[None, :, None]
            made = (vectors * positions).sum(axis=1) / positions.sum(axis=1)
        case Mode.MEAN:
            made = (vectors * kept).sum(axis=1) / kept.sum(axis=1)
    return made


def _steps(folder: ModelFolder) -> list[tuple[str, str]]:
    """Class and folder of each step; none where there is no modules.json."""
    path = folder.root / "modules.json"
    if not path.is_file():
        return []
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        return [(str(step["type"]).rpartition(".")[2], str(step.get("path", ""))) for step in found]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(folder.name, f"The file {path} of {folder.name} cannot be read: {error!r}.") from error


def _modes(name: str, config: Mapping[str, Any]) -> tuple[Mode, ...]:
    named = config.get("pooling_mode")
    if isinstance(named, str):
        if named not in [mode.value for mode in Mode]:
            raise LoadFailed(name, f"{name} pools its tokens as {named[:64]!r}, which this engine does not know.")
        return (Mode(named),)
    wanted = {mode for flag, mode in FLAGS.items() if config.get(flag) is True}
    strange = [flag for flag, on in config.items() if flag.startswith("pooling_mode_") and on and flag not in FLAGS]
    if strange:
        raise LoadFailed(name, f"{name} pools its tokens with {strange[0][:64]}, which this engine does not know.")
    return tuple(mode for mode in Mode if mode in wanted) or (Mode.MEAN,)
