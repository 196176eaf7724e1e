"""The built-in model's graph with its attention fused, as public repositories have theirs.

`GroupQueryAttention` takes the number of tokens from the sum of the mask, and positions from that.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from core.guide import WEIGHTS
from core.guide.convert.onnx import LlamaSource, _OnnxDecoder, pair_halves

DOMAIN = "com.microsoft"


class FusedDecoder(_OnnxDecoder):
    def _bias(self) -> str:
        """Nothing of the kind; the counts instead."""
        graph = self.graph
        count = graph.one("ReduceSum", "attention_mask", graph.ints(1), keepdims=0)
        last = graph.one("Sub", count, graph.ints(1))
        self.counts = graph.one("Cast", last, to=TensorProto.INT32)
        total = graph.one("Gather", graph.one("Shape", "attention_mask"), graph.constant(np.int64(1)))
        self.total = graph.one("Cast", total, to=TensorProto.INT32)
        return ""

    def _angles(self) -> tuple[str, str]:
        width = self.source.head_width
        steps = self.source.rope_base ** -(np.arange(0, width, 2, dtype=np.float64) / width)
        table = np.outer(np.arange(self.source.context), steps)
        cos, sin = (self.graph.constant(f(table).astype(np.float32), f.__name__) for f in (np.cos, np.sin))
        self.caches = (cos, sin)
        return cos, sin

    def _attention(self, x: str, layer: int, angles: object, bias: str) -> str:
        graph, source, prefix = self.graph, self.source, f"blk.{layer}.attn_"
        queries, keys = (
            graph.linear(x, pair_halves(source.tensor(f"{prefix}{part}.weight"), heads), f"{prefix}{part}")
            for part, heads in (("q", source.heads), ("k", source.kv_heads))
        )
        values = self._linear(x, f"{prefix}v")
        pasts = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
        presents = [f"present.{layer}.{part}" for part in ("key", "value")]
        graph.nodes.append(
            helper.make_node(
                "GroupQueryAttention",
                [queries, keys, values, *pasts, self.counts, self.total, *self.caches],
                [f"mixed_{layer}", *presents],
                domain=DOMAIN,
                num_heads=source.heads,
                kv_num_heads=source.kv_heads,
                do_rotary=1,
            )
        )
        return self._linear(f"mixed_{layer}", f"{prefix}output")


def fuse(folder: Path) -> Path:
    """Put the fused graph in the place of the plain one. It takes no position_ids, as its kind does."""
    proto = FusedDecoder(LlamaSource(WEIGHTS)).build()
    proto.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    kept = [each for each in proto.graph.input if each.name != "position_ids"]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    onnx.save(proto, folder / "onnx" / "model.onnx")
    return folder


def halve(folder: Path) -> Path:
    """The graph of a folder with weights, cache and computation in half precision, as `model_fp16.onnx`."""
    path = folder / "onnx" / "model.onnx"
    proto = onnx.load(path)
    for constant in proto.graph.initializer:
        if constant.data_type == TensorProto.FLOAT:
            values = np.clip(numpy_helper.to_array(constant), -6e4, 6e4)
            constant.CopyFrom(numpy_helper.from_array(values.astype(np.float16), constant.name))
    for info in (*proto.graph.input, *proto.graph.output):
        if info.type.tensor_type.elem_type == TensorProto.FLOAT:
            info.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(proto, folder / "onnx" / "model_fp16.onnx")
    path.unlink()
    return folder


def to_four_bits(folder: Path, block: int = 32) -> Path:
    """Beside `model.onnx` a `model_q4.onnx`, whose matrices are blocks of four bits with a scale each."""
    proto = onnx.load(folder / "onnx" / "model.onnx")
    constants = {constant.name: constant for constant in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in constants:
            continue
        constant = constants[node.input[1]]
        weight = numpy_helper.to_array(constant).T
        rows, columns = weight.shape
        blocks = weight.reshape(rows, columns // block, block)
        scales = np.abs(blocks).max(axis=-1, keepdims=True) / 7
        levels = np.clip(np.round(blocks / scales) + 8, 0, 15).astype(np.uint8)
        packed = levels[..., 0::2] | levels[..., 1::2] << 4
        constant.CopyFrom(numpy_helper.from_array(packed, constant.name))
        scale = numpy_helper.from_array(scales.reshape(-1).astype(np.float32), f"{constant.name}_scales")
        proto.graph.initializer.append(scale)
        made = helper.make_node(
            "MatMulNBits",
            [node.input[0], constant.name, scale.name],
            list(node.output),
            domain=DOMAIN,
            K=columns,
            N=rows,
            bits=4,
            block_size=block,
        )
        node.CopyFrom(made)
    proto.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    onnx.save(proto, folder / "onnx" / "model_q4.onnx")
    return folder / "onnx" / "model_q4.onnx"
