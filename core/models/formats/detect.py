"""What a file is, told by its content and not by its name."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path

from core.contract.artifact import SCRIPT, Artifact, FormatName

GGUF_MAGIC = b"GGUF"
GGUF_VERSIONS = (2, 3)
PTE_MAGIC = b"ET"
"""At byte 4, with two digits behind it: the flatbuffer identifier of an executorch program."""
MLC_WEIGHTS = ("ndarray-cache.json", "tensor-cache.json")
"""The index of an MLC model's weights, as it was called and as it is."""
LFS_POINTER = b"version https://git-lfs.github.com"
WHISPER_MAGIC = b"lmgg"
"""0x67676d6c, little-endian."""
WHISPER_COUNTS = {
    "n_vocab": (51864, 60_000),
    "n_audio_ctx": (1, 1500),
    "n_audio_state": (1, 8192),
    "n_audio_head": (1, 256),
    "n_audio_layer": (1, 256),
    "n_text_ctx": (8, 8192),
    "n_text_state": (1, 8192),
    "n_text_head": (1, 256),
    "n_text_layer": (1, 256),
    "n_mels": (1, 512),
    "ftype": (0, 9999),
}
"""What follows the magic in a whisper file, and the range that makes sense; other old ggml models fall outside."""
ENCODERS = frozenset(
    {"bert", "roberta", "xlm-roberta", "distilbert", "mpnet", "albert", "camembert", "electra", "deberta", "deberta-v2"}
    | {"ernie", "modernbert", "nomic_bert", "new", "gte"}
)
"""Model types of configurations whose models read a text as a whole."""
HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForCausalLM")
"""Ends of architectures that make something else of it than vectors."""
SAMPLE = 1 << 20
"""Bytes read from either end for a fingerprint."""


class Damaged(Exception):
    """The file is not what it should be; the message says what is wrong, as the end of a sentence."""


def detect(path: Path) -> FormatName:
    """The format of a model file. Raises Damaged, or OSError when it cannot be read."""
    with path.open("rb") as file:
        head = file.read(48)
    if not head:
        raise Damaged("it is empty")
    if head.startswith(LFS_POINTER):
        raise Damaged("it is a Git LFS pointer in place of the file itself")
    if head[:4] == WHISPER_MAGIC:
        return _whisper(head)
    if head[4:6] == PTE_MAGIC and head[6:8].isdigit():
        return "pte"
    if head[:4] != GGUF_MAGIC:
        raise Damaged("it does not begin as a GGUF file does")
    if len(head) < 24:
        raise Damaged("it ends within its header")
    (version,) = struct.unpack_from("<I", head, 4)
    if version not in GGUF_VERSIONS:
        raise Damaged(f"its GGUF version {version} is unknown (versions {GGUF_VERSIONS[0]} and {GGUF_VERSIONS[1]} are)")
    return "gguf"


def _whisper(head: bytes) -> FormatName:
    if len(head) < 48:
        raise Damaged("it ends within its header")
    for (name, (least, most)), value in zip(WHISPER_COUNTS.items(), struct.unpack_from("<11i", head, 4), strict=True):
        if not least <= value <= most:
            raise Damaged(f"it is a ggml file but no whisper model, with a {name} of {value}")
    return "ggml-whisper"


def detect_folder(path: Path) -> FormatName:
    """The format of a model that is a folder of files, as repositories hold them. Raises Damaged."""
    if (path / "genai_config.json").is_file() and not any(path.glob("onnx/*.onnx")):
        return "onnx-genai"
    if any(path.glob("*.onnx")) or any(path.glob("onnx/*.onnx")):
        return "onnx-embedder" if _embeds(path) else "onnx"
    if (path / "llm_config.json").is_file() and any(path.glob("*.mnn")):
        return "mnn"
    if (path / "mlc-chat-config.json").is_file() and any((path / name).is_file() for name in MLC_WEIGHTS):
        return "mlc"
    if any(path.glob("*.pte")):
        return "pte"
    if (path / "config.json").is_file() and any(path.glob("*.safetensors")):
        return "mlx"
    raise Damaged(
        "the folder holds neither *.safetensors beside a config.json, nor *.onnx files, "
        "nor *.mnn files beside an llm_config.json, nor *.pte files, nor the weights of an mlc-chat-config.json"
    )


def _embeds(path: Path) -> bool:
    """Whether a folder holds an encoder: it has the files of sentence-transformers, or its configuration names one."""
    if (path / "modules.json").is_file() or (path / "1_Pooling").is_dir():
        return True
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        # The engine says what is wrong with it.
        return False
    if not isinstance(config, dict) or config.get("model_type") not in ENCODERS:
        return False
    architectures = config.get("architectures")
    named = architectures if isinstance(architectures, list) else []
    return not any(str(each).endswith(HEADS) for each in named)


def fingerprint(path: Path) -> str:
    """Tells one model from another without reading all of it: names, sizes, first and last MiB of each file."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for each in files:
        size = each.stat().st_size
        name = each.relative_to(path).as_posix() if each != path else ""
        digest.update(os.fsencode(f"{name}\0{size}\0"))
        with each.open("rb") as file:
            digest.update(file.read(SAMPLE))
            file.seek(max(0, size - SAMPLE))
            digest.update(file.read(SAMPLE))
    return digest.hexdigest()[:24]


def mark(artifact: Artifact) -> str:
    """The fingerprint of a model's files; its name for one that has none."""
    return artifact.name if artifact.format == SCRIPT else fingerprint(artifact.path)
