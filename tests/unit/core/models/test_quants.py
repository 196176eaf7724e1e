"""Grouping a repository's files into models, by names as publishers choose them."""

import pytest

from core.engines.base import ArtifactFormat
from core.models.quants import formats_of, gguf_label, group, label_by_name, projectors
from core.models.repository import Quant, RepoFile


def files(*paths: str, size: int = 1000) -> list[RepoFile]:
    return [RepoFile(path, size + number) for number, path in enumerate(paths)]


def grouped(*paths: str, repo: str = "owner/name", label: str | None = None) -> dict[str, Quant]:
    return {quant.label: quant for quant in group(repo, "c" * 40, files(*paths), weights_label=label)}


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("Qwen3-4B-Q4_K_M.gguf", "Q4_K_M"),
        ("qwen2.5-0.5b-instruct-q4_k_m.gguf", "Q4_K_M"),
        ("model.Q8_0.gguf", "Q8_0"),
        ("model-IQ2_XXS.gguf", "IQ2_XXS"),
        ("model-i1-IQ3_M.gguf", "IQ3_M"),
        ("gemma-3-4b-it-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("gpt-oss-20b-MXFP4_MOE.gguf", "MXFP4_MOE"),
        ("model-BF16.gguf", "BF16"),
        ("model-f16.gguf", "F16"),
        ("model.fp16.gguf", "F16"),
        ("model-Q4_0_4_4.gguf", "Q4_0_4_4"),
        ("model-TQ1_0.gguf", "TQ1_0"),
        ("model-Q6_K.gguf", "Q6_K"),
        ("model-q3_k_l.gguf", "Q3_K_L"),
        ("UD-Q2_K_XL/model-00001-of-00002.gguf", "UD-Q2_K_XL"),
        ("BF16/Llama-4-BF16-00001-of-00005.gguf", "BF16"),
        ("Q4_K_M/weights.gguf", "Q4_K_M"),
        ("tinyllama.gguf", "tinyllama"),
        ("q1-model.gguf", "Q1"),
    ],
)
def test_labels_are_read_off_the_names(path: str, label: str) -> None:
    assert gguf_label(path) == label


def test_parts_of_a_split_file_are_one_quant_in_their_order() -> None:
    parts = [f"Q8_0/big-Q8_0-0000{number}-of-00003.gguf" for number in (3, 1, 2)]
    quant = grouped(*parts)["Q8_0"]
    assert [file.path for file in quant.files] == sorted(parts)
    assert quant.size == 1000 + 1001 + 1002


def test_a_split_file_of_which_parts_are_missing_is_left_out() -> None:
    assert grouped("big-Q8_0-00001-of-00003.gguf", "big-Q8_0-00003-of-00003.gguf") == {}


def test_projectors_and_importance_matrices_are_no_quants() -> None:
    names = ("a-Q4_0.gguf", "mmproj-a-f16.gguf", "a.imatrix.gguf")
    assert set(grouped(*names)) == {"Q4_0"}
    assert [file.path for file in projectors(files(*names))] == ["mmproj-a-f16.gguf"]


def test_two_models_of_one_label_are_told_apart_by_their_names() -> None:
    assert set(grouped("a-Q4_0.gguf", "a-draft-Q4_0.gguf")) == {"Q4_0", "a-draft-Q4_0"}


def test_quants_come_smallest_first() -> None:
    made = group("o/n", "c" * 40, [RepoFile("a-Q8_0.gguf", 9), RepoFile("a-Q4_0.gguf", 5), RepoFile("a-F16.gguf", 20)])
    assert [quant.label for quant in made] == ["Q4_0", "Q8_0", "F16"]


def test_a_folder_of_safetensors_is_one_quant_with_what_belongs_to_it() -> None:
    names = (
        *("README.md", ".gitattributes", "config.json", "generation_config.json", "tokenizer.json", "merges.txt"),
        *("tokenizer_config.json", "chat_template.jinja", "model.safetensors.index.json", "LICENSE.txt"),
        *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "consolidated.safetensors"),
        *("original/model.safetensors", "pytorch_model.bin", "modeling_custom.py"),
    )
    quant = grouped(*names, label="4bit")["4bit"]
    assert quant.format is ArtifactFormat.MLX
    paths = [file.path for file in quant.files]
    assert paths[0] == "config.json"
    assert paths[-2:] == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert set(names) - set(paths) == {
        *("README.md", ".gitattributes", "LICENSE.txt", "consolidated.safetensors"),
        *("original/model.safetensors", "pytorch_model.bin", "modeling_custom.py"),
    }


def test_safetensors_without_a_configuration_are_no_model() -> None:
    assert grouped("adapter_config.json", "adapter_model.safetensors") == {}


@pytest.mark.parametrize(
    ("repo", "label"),
    [
        ("mlx-community/Qwen3-4B-4bit", "4bit"),
        ("mlx-community/gemma-3-1b-it-8bit-DWQ", "8bit"),
        ("mlx-community/Phi-4-bf16", "bf16"),
        ("owner/model", "safetensors"),
    ],
)
def test_the_repository_name_tells_the_label_where_nothing_else_does(repo: str, label: str) -> None:
    assert label_by_name(repo) == label


def test_each_graph_is_a_quant_with_its_data_and_tokenizer() -> None:
    names = (
        *("config.json", "tokenizer.json", "onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_q4.onnx"),
        *("onnx/model_q4.onnx_data", "onnx/model_q4.onnx_data_1", "onnx/decoder_model_merged.onnx"),
    )
    made = grouped(*names)
    assert set(made) == {"onnx-fp32", "onnx-q4"}
    assert {file.path for file in made["onnx-q4"].files} == {
        *("config.json", "tokenizer.json", "onnx/model_q4.onnx", "onnx/model_q4.onnx_data", "onnx/model_q4.onnx_data_1")
    }
    assert made["onnx-q4"].format is ArtifactFormat.ONNX


def test_the_graph_of_a_sentence_encoder_is_an_embedder_with_its_pooling() -> None:
    quant = grouped("config.json", "modules.json", "1_Pooling/config.json", "tokenizer.json", "onnx/model.onnx")[
        "onnx-fp32"
    ]
    assert quant.format is ArtifactFormat.ONNX_EMBEDDER
    assert "1_Pooling/config.json" in {file.path for file in quant.files}


def test_folders_for_the_genai_library_are_taken_whole() -> None:
    made = grouped(
        "README.md", "cpu/int4/genai_config.json", "cpu/int4/model.onnx", "cpu/int4/model.onnx.data", "config.json"
    )
    assert set(made) == {"genai-int4"}
    assert len(made["genai-int4"].files) == 3
    assert made["genai-int4"].format is ArtifactFormat.ONNX_GENAI


def test_whisper_files_are_quants_by_their_names() -> None:
    made = grouped("ggml-base.en-q5_1.bin", "ggml-tiny.bin", "ggml-base-encoder.mlmodelc.zip", "other.bin")
    assert set(made) == {"base.en-q5_1", "tiny"}
    assert {quant.format for quant in made.values()} == {ArtifactFormat.WHISPER}


def test_mnn_folders_and_pte_programs_are_quants() -> None:
    made = grouped("llm.mnn", "llm.mnn.weight", "llm_config.json", "tokenizer.txt")
    assert (set(made), len(made["mnn"].files)) == ({"mnn"}, 4)
    assert set(grouped("model.pte", "tokenizer.json")) == {"pte"}


def test_formats_are_told_by_the_names_alone() -> None:
    held = formats_of(["a-Q4_0.gguf", "config.json", "model.safetensors", "onnx/model.onnx"])
    assert held == {ArtifactFormat.GGUF, ArtifactFormat.MLX, ArtifactFormat.ONNX}
    assert formats_of(["README.md", "pytorch_model.bin"]) == frozenset()
