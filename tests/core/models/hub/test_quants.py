"""Grouping a repository's files into models, by names as publishers choose them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.models.formats.gguf_files import label_gguf
from core.models.hub.choose_quant import choose_quant
from core.models.hub.quants import group_quants, guess_formats, guess_label, list_heads, list_projectors
from core.models.hub.repository import Quant, RepoFile, Repository
from core.names import HubName, parse_name


def files(*paths: str, size: int = 1000) -> list[RepoFile]:
    return [RepoFile(path, size + number) for number, path in enumerate(paths)]


def grouped(*paths: str, repo: str = "owner/name", label: str | None = None) -> dict[str, Quant]:
    return {quant.label: quant for quant in group_quants(repo, "c" * 40, files(*paths), weights_label=label)}


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
        ("small/tinyllama.gguf", "small-tinyllama"),
        ("q1-model.gguf", "Q1"),
    ],
)
def test_labels_are_read_off_the_names(path: str, label: str) -> None:
    assert label_gguf(path) == label


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
    assert [file.path for file in list_projectors(files(*names))] == ["mmproj-a-f16.gguf"]


GB = 10**9
SPLIT_MAIN = [(f"Q8_0/Big-Q8_0-0000{number}-of-00002.gguf", 40 * GB) for number in (1, 2)]
LAYOUTS = {
    # Files with their sizes, then the file that each label begins with, then what drafts for them.
    "a head at the root and parts in folders": (
        [("mtp-Big-Q4_K_M.gguf", GB), ("mtp-Big-shared-Q8_0.gguf", GB), *SPLIT_MAIN],
        {"Q8_0": SPLIT_MAIN[0][0]},
        {"mtp-Big-Q4_K_M.gguf", "mtp-Big-shared-Q8_0.gguf"},
    ),
    "heads in a folder of theirs": (
        [
            *(("gemma-UD-Q4_K_XL.gguf", 7 * GB), ("mmproj-BF16.gguf", GB), ("mtp-gemma.gguf", GB // 9)),
            *(("MTP/gemma-BF16-MTP.gguf", GB // 2), ("MTP/mtp-gemma-Q8_0.gguf", GB // 4)),
        ],
        {"UD-Q4_K_XL": "gemma-UD-Q4_K_XL.gguf"},
        {"mtp-gemma.gguf", "MTP/gemma-BF16-MTP.gguf", "MTP/mtp-gemma-Q8_0.gguf"},
    ),
    "an EAGLE head of the same label": (
        [("eagle3-mxfp4.gguf", GB), ("big-mxfp4.gguf", 20 * GB)],
        {"MXFP4": "big-mxfp4.gguf"},
        {"eagle3-mxfp4.gguf"},
    ),
    "drafts by two other names": (
        [("M-Q4_0.gguf", 5 * GB), ("draft-M-Q4_0.gguf", GB), ("dflash-M-Q8_0.gguf", GB)],
        {"Q4_0": "M-Q4_0.gguf"},
        {"draft-M-Q4_0.gguf", "dflash-M-Q8_0.gguf"},
    ),
    "a model with a head inside": (
        [("Qwen-IQ4_XS-mtp.gguf", 15 * GB), ("Qwen-Q8_0-MTP.gguf", 28 * GB), ("Qwen-Q4_K_M.gguf", 17 * GB)],
        {"IQ4_XS": "Qwen-IQ4_XS-mtp.gguf", "Q8_0": "Qwen-Q8_0-MTP.gguf", "Q4_K_M": "Qwen-Q4_K_M.gguf"},
        set(),
    ),
    "a head at the root that says so last": (
        [("gemma-Q4_0.gguf", 5 * GB), ("gemma-F16-MTP.gguf", GB // 2)],
        {"Q4_0": "gemma-Q4_0.gguf"},
        {"gemma-F16-MTP.gguf"},
    ),
    "a name with the letters in its middle": (
        [("x-mtp-kl-Q8_0.gguf", 8 * GB), ("deagle-Q4_0.gguf", 4 * GB)],
        {"Q8_0": "x-mtp-kl-Q8_0.gguf", "Q4_0": "deagle-Q4_0.gguf"},
        set(),
    ),
    "models that are only called so": (
        [("Eagle-7B-Q4_K_M.gguf", 4 * GB), ("Eagle-7B-Q8_0.gguf", 8 * GB)],
        {"Q4_K_M": "Eagle-7B-Q4_K_M.gguf", "Q8_0": "Eagle-7B-Q8_0.gguf"},
        set(),
    ),
}


@pytest.mark.parametrize(("listed", "labels", "drafting"), LAYOUTS.values(), ids=LAYOUTS)
def test_what_only_drafts_is_set_aside(
    listed: list[tuple[str, int]], labels: dict[str, str], drafting: set[str]
) -> None:
    files = [RepoFile(path, size) for path, size in listed]
    made = group_quants("o/n", "c" * 40, files)
    assert {quant.label: quant.files[0].path for quant in made} == labels
    assert {file.path for file in list_heads(files)} == drafting


@pytest.mark.parametrize(
    "path",
    [
        "M-Q4_K_M-imatrix.gguf",
        "imatrix/M-Q4_K_M.gguf",
        "X-imatrix-Q4_K_M.gguf",
        "imatrix-M-Q4_K_M.gguf",
        "DeepSeek-IQ2XXS-w2Q2K-AProjQ8-chat-v2-imatrix.gguf",
    ],
)
def test_a_model_made_with_an_importance_matrix_is_one(path: str) -> None:
    assert [quant.files[0].path for quant in grouped(path).values()] == [path]


@pytest.mark.parametrize(
    "path", ["imatrix.gguf", "M-imatrix.gguf", "M.imatrix.gguf", "M.i1-imatrix.gguf", "Q4_K_M/imatrix.gguf"]
)
def test_an_importance_matrix_is_no_model(path: str) -> None:
    assert grouped(path) == {}


def test_no_model_is_lost_where_names_collide() -> None:
    assert set(grouped("a/model.gguf", "b/model.gguf", "c/model.gguf")) == {"a-model", "b-model", "c-model"}
    sizes = ("1.5B", "7B", "14B")
    folders = [f"deepseek-r1-distill-qwen-{size}/cpu_and_mobile/cpu-int4-rtn-block-32-acc-level-4" for size in sizes]
    made = grouped(*(f"{folder}/{name}" for folder in folders for name in ("genai_config.json", "model.onnx")))
    assert len(made) == 3
    twins = grouped("x y/m-Q8_0.gguf", "x-y/m-Q8_0.gguf", "x(y/m-Q8_0.gguf", "x)y/m-Q8_0.gguf")
    assert len(twins) == 4
    weights = grouped("config.json", "model.safetensors", "M-BF16.gguf", label="bf16")
    assert {label: quant.format for label, quant in weights.items()} == {
        "BF16": "gguf",
        "safetensors": "mlx",
    }


def test_every_label_can_be_written_behind_a_colon() -> None:
    long = "a very long name (of a folder), " * 9
    made = grouped(f"{long}/model.gguf", f"{long}x/model.gguf", "_.gguf", "模型.gguf", "ggml-bäse.bin")
    assert len(made) == 5
    for label in made:
        assert parse_name(f"o/n:{label}") == HubName("o/n", label)


def test_of_two_models_of_one_label_the_larger_goes_by_it() -> None:
    small, large = RepoFile("a-Q8_0.gguf", GB), RepoFile("the-whole-Q8_0.gguf", 9 * GB)
    made = {quant.label: quant.files for quant in group_quants("o/n", "c" * 40, [small, large])}
    assert made == {"Q8_0": (large,), "a-Q8_0": (small,)}


LISTINGS = [
    ("M-Q8_0.gguf", "Q8_0/M-Q8_0.gguf", "Q8_0/other-Q8_0.gguf", "Q8_0/M-Q4_0-00001-of-00001.gguf"),
    ("a.pte", "b.pte", "xnnpack/model.pte", "model.pte"),
    ("a/model.gguf", "b/model.gguf", "c/model.gguf"),
    ("x/cpu/genai_config.json", "y/cpu/genai_config.json", "cpu/genai_config.json"),
    ("ggml-base.bin", "base.gguf"),
]


@pytest.mark.parametrize("paths", LISTINGS)
def test_a_model_goes_by_the_name_of_its_listing_where_it_is_alone(paths: tuple[str, ...]) -> None:
    listed = grouped(*paths)
    assert len(listed) == len(paths)
    for label, quant in listed.items():
        (alone,) = group_quants("owner/name", "c" * 40, quant.files)
        assert label.lower() in {each.lower() for each in (alone.label, *alone.also)}


BITS_OF_NAMES = st.sampled_from(["a", "B", "-", "/", " ", "(", ".", "Q8_0", "-Q4_K_M", "model"])
NAMES = st.lists(BITS_OF_NAMES, min_size=1, max_size=6)
PATHS = NAMES.map("".join).filter(lambda name: all(part.strip(" .") for part in name.split("/")))
ENDINGS = st.sampled_from([".gguf", ".pte", "/genai_config.json"])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(PATHS, ENDINGS).map("".join), max_size=8, unique=True))
def test_whatever_files_are_called_none_is_lost_and_each_can_be_asked_for(paths: list[str]) -> None:
    listed = group_quants("owner/name", "c" * 40, files(*paths))
    assert len(listed) == len(paths)
    assert len({quant.label.lower() for quant in listed}) == len(paths)
    for quant in listed:
        name = parse_name(quant.name)
        assert name == HubName("owner/name", quant.label)
        alone = group_quants("owner/name", "c" * 40, quant.files)
        assert choose_quant(name, Repository("owner/name", "c" * 40, quant.files, alone)).files == quant.files


def test_two_models_of_one_label_are_told_apart_by_their_names() -> None:
    assert set(grouped("a-Q4_0.gguf", "a-draft-Q4_0.gguf")) == {"Q4_0", "a-draft-Q4_0"}


def test_quants_come_smallest_first() -> None:
    made = group_quants(
        "o/n", "c" * 40, [RepoFile("a-Q8_0.gguf", 9), RepoFile("a-Q4_0.gguf", 5), RepoFile("a-F16.gguf", 20)]
    )
    assert [quant.label for quant in made] == ["Q4_0", "Q8_0", "F16"]


def test_a_folder_of_safetensors_is_one_quant_with_what_belongs_to_it() -> None:
    names = (
        *("README.md", ".gitattributes", "config.json", "generation_config.json", "tokenizer.json", "merges.txt"),
        *("tokenizer_config.json", "chat_template.jinja", "model.safetensors.index.json", "LICENSE.txt"),
        *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "consolidated.safetensors"),
        *("original/model.safetensors", "pytorch_model.bin", "modeling_custom.py"),
    )
    quant = grouped(*names, label="4bit")["4bit"]
    assert quant.format == "mlx"
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
    assert guess_label(repo) == label


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
    assert made["onnx-q4"].format == "onnx"


def test_the_graph_of_a_sentence_encoder_is_an_embedder_with_its_pooling() -> None:
    quant = grouped("config.json", "modules.json", "1_Pooling/config.json", "tokenizer.json", "onnx/model.onnx")[
        "onnx-fp32"
    ]
    assert quant.format == "onnx-embedder"
    assert "1_Pooling/config.json" in {file.path for file in quant.files}


def test_folders_for_the_genai_library_are_taken_whole() -> None:
    made = grouped(
        "README.md", "cpu/int4/genai_config.json", "cpu/int4/model.onnx", "cpu/int4/model.onnx.data", "config.json"
    )
    assert set(made) == {"genai-int4"}
    assert len(made["genai-int4"].files) == 3
    assert made["genai-int4"].format == "onnx-genai"


def test_whisper_files_are_quants_by_their_names() -> None:
    made = grouped("ggml-base.en-q5_1.bin", "ggml-tiny.bin", "ggml-base-encoder.mlmodelc.zip", "other.bin")
    assert set(made) == {"base.en-q5_1", "tiny"}
    assert {quant.format for quant in made.values()} == {"ggml-whisper"}


def test_mnn_folders_and_pte_programs_are_quants() -> None:
    made = grouped("llm.mnn", "llm.mnn.weight", "llm_config.json", "tokenizer.txt")
    assert (set(made), len(made["mnn"].files)) == ({"mnn"}, 4)
    assert set(grouped("model.pte", "tokenizer.json")) == {"pte"}
    assert set(grouped("a.pte", "tokenizer.json")) == {"pte-a"}


def test_formats_are_told_by_the_names_alone() -> None:
    held = guess_formats(["a-Q4_0.gguf", "config.json", "model.safetensors", "onnx/model.onnx"])
    assert held == {"gguf", "mlx", "onnx"}
    assert guess_formats(["README.md", "pytorch_model.bin"]) == frozenset()
