"""GGUF: one file with everything in it, or several that are parts of one."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from core.contract.options import LoadOptions
from core.models.formats.format import Format
from core.models.formats.gguf_facts import Whole, describe_header
from core.models.formats.gguf_files import label_gguf, list_model_files
from core.models.formats.gguf_header import MAGIC, Tensor, check_version, read_gguf
from core.models.formats.header import Header
from core.models.formats.kv_conflict import explain_kv_conflict
from core.models.formats.listing import FileListing, Group, list_names, sum_bytes
from core.models.formats.source import Damaged, Files, FileSource
from core.names import SPLIT


class GgufFormat(Format):
    """What llama.cpp loads."""

    name = "gguf"
    hub_tag = "gguf"
    patterns = ("*.gguf",)
    checked_ending = ".gguf"
    tells_pooling = True
    sets_kv_aside = True
    divides = True
    takes_kv_types = True

    def is_file(self, head: bytes) -> bool:
        if head[:4] != MAGIC:
            return False
        if len(head) < 24:
            raise Damaged("it ends within its header")
        check_version(*struct.unpack_from("<I", head, 4))
        return True

    def check_file(self, path: Path) -> None:
        read_gguf(FileSource(path))

    def group_files(self, listing: FileListing) -> Iterator[Group]:
        for files in list_model_files(listing.sizes):
            part = SPLIT.search(files[0])
            # A split file of which parts are missing cannot be run.
            if part is None or len(files) == int(part[2]):
                yield Group(list_names(label_gguf(files[0]), files[0]), tuple(files))

    def locate_model(self, folder: Path, files: Sequence[str], *, several: bool) -> Path:
        return folder / files[0]

    def explain_kv_conflict(self, header: Header, options: LoadOptions) -> str | None:
        return explain_kv_conflict(header, options)

    def read_template(self, files: Files) -> str | None:
        paths = sorted(path for path in files.sizes if path.lower().endswith(".gguf"))
        found = read_gguf(files.open(paths[0])).pairs.get("tokenizer.chat_template") if paths else None
        return found if isinstance(found, str) else None

    def read_header(self, name: str, files: Files) -> Header:
        paths = sorted(path for path in files.sizes if path.lower().endswith(".gguf"))
        if not paths:
            raise Damaged("there is no *.gguf file")
        found = SPLIT.search(paths[0])
        header = read_gguf(files.open(paths[0]))
        if found is None:
            return describe_header(header, name)
        count = int(found[2])
        if len(paths) != count:
            raise Damaged(f"it is split into {count} files, of which {len(paths)} are there")
        others: tuple[Tensor, ...] = ()
        if any(key.endswith(".nextn_predict_layers") and value for key, value in header.pairs.items()):
            # The heads are the last layers, if they are there at all.
            others = read_gguf(files.open(paths[-1])).tensors
        return describe_header(header, name, Whole(count, sum_bytes(paths, files.sizes)), others)
