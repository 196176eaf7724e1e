"""Writes guide as a folder for onnxruntime-genai: the graph of `core.guide.convert.onnx`, and what describes it.

    python -m core.guide.convert.genai FOLDER

The keys of genai_config.json are those of https://onnxruntime.ai/docs/genai/reference/config.html.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from core.guide import WEIGHTS
from core.guide.convert import onnx as to_onnx

KEPT = "num_logits_to_keep"


def write_model(folder: Path, source: Path = WEIGHTS) -> Path:
    """Write the model into `folder`, which is made where it is not there; returns it."""
    made = to_onnx.write_model(folder, source)
    graph = made / "onnx" / "model.onnx"
    proto = onnx.load(graph)
    # The library knows no such input, and takes logits of all tokens.
    kept = [each for each in proto.graph.input if each.name != KEPT]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(1 << 31, np.int64), KEPT))
    onnx.save(proto, made / "model.onnx")
    graph.unlink()
    graph.parent.rmdir()
    config = json.loads((made / "config.json").read_text(encoding="utf-8"))
    text = json.dumps(_build_genai_config(config), indent=2) + "\n"
    (made / "genai_config.json").write_text(text, encoding="utf-8")
    return made


def _build_genai_config(config: dict[str, int]) -> dict[str, object]:
    """genai_config.json from the keys of config.json."""
    inputs = {name: name for name in ("input_ids", "attention_mask", "position_ids")}
    parts = ("key", "value")
    decoder = {
        "filename": "model.onnx",
        "session_options": {"provider_options": []},
        "head_size": config["head_dim"],
        "hidden_size": config["hidden_size"],
        "num_attention_heads": config["num_attention_heads"],
        "num_hidden_layers": config["num_hidden_layers"],
        "num_key_value_heads": config["num_key_value_heads"],
        "inputs": inputs | {f"past_{part}_names": f"past_key_values.%d.{part}" for part in parts},
        "outputs": {"logits": "logits"} | {f"present_{part}_names": f"present.%d.{part}" for part in parts},
    }
    end = config["eos_token_id"]
    return {
        "model": {
            "type": "llama",
            "context_length": config["max_position_embeddings"],
            "vocab_size": config["vocab_size"],
            "bos_token_id": end,
            "eos_token_id": end,
            "pad_token_id": end,
            "decoder": decoder,
        },
        "search": {"max_length": config["max_position_embeddings"], "past_present_share_buffer": False},
    }


if __name__ == "__main__":
    print(write_model(Path(sys.argv[1])))
