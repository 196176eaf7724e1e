"""Which files of a repository make up one model to run, and what each model is called."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from core.contract.artifact import FormatName
from core.models.formats.gguf_files import list_head_files, list_projector_files
from core.models.formats.listing import FileListing, Group, sum_bytes
from core.models.formats.registry import load_formats
from core.models.hub.repository import Quant, RepoFile
from core.names import MOST_VARIANT_CHARACTERS

NAMED_BITS: Final = re.compile(
    r"(?:^|[-_.])(\d{1,2})[-_]?bit(?:$|[-_.])|(?:^|[-_.])(bf16|fp16|fp8|mxfp4)(?:$|[-_.])", re.IGNORECASE
)
TWIN_SHARE: Final = 2
"""Of models with one label, one smaller than the largest by this factor is less likely to be the one asked for."""
UNWRITABLE: Final = re.compile(r"[^A-Za-z0-9._+-]+")


def group_quants(
    repo: str,
    revision: str,
    files: Sequence[RepoFile],
    *,
    weights_label: str | None = None,
    model_type: str = "",
    head: str = "",
) -> tuple[Quant, ...]:
    """All quants, smallest first, no label twice. `weights_label`, `model_type` and `head` come of config.json, if it
    was read; without it the label of safetensors is guessed by the repository's name."""
    by_path = {file.path: file for file in files}
    named = guess_label(repo)
    listing = FileListing(map_sizes(files), weights_label or named, named, model_type, head)
    found = [
        _ModelFiles(format_.name, group, sum_bytes(group.files, listing.sizes))
        for format_, group in load_formats().group_files(listing)
    ]
    made: dict[str, Quant] = {}
    for each in _likeliest_first(found):
        names = _spellings(each.group)
        # A second model with the same label is known by its file's name, or by its whole path.
        label = next((name for name in names if name.lower() not in made), names[-1])
        also = tuple(name for name in names if name.lower() != label.lower())
        members = tuple(by_path[path] for path in each.group.files)
        made[label.lower()] = Quant(repo, revision, label, each.format, members, also)
    return tuple(sorted(made.values(), key=lambda quant: (quant.size, quant.label)))


def list_projectors(files: Iterable[RepoFile]) -> tuple[RepoFile, ...]:
    by_path = {file.path: file for file in files}
    return tuple(by_path[path] for path in list_projector_files(map_sizes(by_path.values())))


def list_heads(files: Sequence[RepoFile]) -> tuple[RepoFile, ...]:
    """The GGUF files that only draft for a model beside them; none where there is no such model."""
    by_path = {file.path: file for file in files}
    return tuple(by_path[path] for path in list_head_files(map_sizes(files)))


def guess_label(repo: str) -> str:
    """`4bit`, `bf16` ... where a repository's name tells it, else `safetensors`."""
    found = NAMED_BITS.search(repo.rpartition("/")[2])
    if found is None:
        return "safetensors"
    return f"{found[1]}bit" if found[1] else found[2].lower()


class _ModelFiles(Struct, frozen=True):
    """The files of one model, without a label yet."""

    format: FormatName
    group: Group
    size: int


def _likeliest_first(found: Sequence[_ModelFiles]) -> list[_ModelFiles]:
    """In the order in which labels are given out: GGUF before other formats, and small ones of a label last."""
    largest: dict[str, int] = defaultdict(int)
    for each in found:
        largest[each.group.names[0].lower()] = max(each.size, largest[each.group.names[0].lower()])

    def rank(each: _ModelFiles) -> tuple[bool, bool, int, str]:
        path = each.group.files[0]
        small = each.size * TWIN_SHARE < largest[each.group.names[0].lower()]
        return each.format != "gguf", small, len(path), path

    return sorted(found, key=rank)


def _spellings(each: Group) -> tuple[str, ...]:
    """Its names as they can be written behind a colon, each once; the last holds a mark of its path, for two names may
    become one where they are written so."""
    made: dict[str, str] = {}
    for name in each.names:
        word = UNWRITABLE.sub("-", name).lstrip("._+-")[:MOST_VARIANT_CHARACTERS] or "model"
        made.setdefault(word.lower(), word)
    mark = hashlib.sha256(os.fsencode(each.files[0])).hexdigest()[:6]
    return *made.values(), f"{word[: MOST_VARIANT_CHARACTERS - 7]}-{mark}"


def guess_formats(names: Iterable[str]) -> frozenset[FormatName]:
    """The formats a repository holds, by its files' names alone."""
    files = [RepoFile(name, 0) for name in names]
    return frozenset(quant.format for quant in group_quants("owner/name", "", files))


def map_sizes(files: Iterable[RepoFile]) -> Mapping[str, int]:
    return {file.path: file.size for file in files}
