"""Other formats of the built-in model's weights, and deliberately broken files."""

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np

from core.guide import WEIGHTS

BLOCK = 32


def quantized(source: Path, folder: Path) -> Path:
    """The same model with its matrices in Q8_0."""
    path = folder / "guide-q8_0.gguf"
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        sub_type = field.types[-1] if kind is gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=sub_type)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    for tensor in reader.tensors:
        if tensor.tensor_type is gguf.GGMLQuantizationType.F32:
            writer.add_tensor(tensor.name, tensor.data)
            continue
        values = np.asarray(tensor.data, dtype=np.float32)
        packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(tensor.name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def onnx_folder(folder: Path) -> Path:
    """The same model as an ONNX graph, laid out as public repositories do it."""
    from core.guide.convert.onnx import write_model

    return write_model(folder / "guide-onnx")


def truncated(folder: Path, keep: float = 0.5) -> Path:
    """The built-in model's file, cut off."""
    path = folder / "truncated.gguf"
    data = WEIGHTS.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def mlx_folder(folder: Path) -> Path:
    """The same model as a folder of safetensors."""
    from core.guide.convert.mlx import write_model

    return write_model(folder / "guide-mlx")


def mnn_folder(folder: Path) -> Path:
    """The same model as MNN's LLM exporter lays it out."""
    from core.guide.convert.mnn import write_model

    return write_model(folder / "guide-mnn")


def genai_folder(folder: Path) -> Path:
    """The same model as onnxruntime-genai wants it."""
    from core.guide.convert.genai import write_model

    return write_model(folder / "guide-genai")


def rewritten(
    source: Path, path: Path, *, fields: Mapping[str, object] | None = None, weights: Mapping[str, float] | None = None
) -> Path:
    """The same model with other values in its header, and matrices that are filled with one number; None leaves a field
    out."""
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(path, str(architecture))
    fields, weights = fields or {}, weights or {}
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        value = fields.get(field.name, field.contents())
        if value is None:
            continue
        kind = field.types[0]
        writer.add_key_value(
            field.name, value, kind, sub_type=field.types[-1] if kind is gguf.GGUFValueType.ARRAY else None
        )
    for tensor in reader.tensors:
        data = np.array(tensor.data)
        if tensor.name in weights:
            data[...] = weights[tensor.name]
        writer.add_tensor(tensor.name, data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
