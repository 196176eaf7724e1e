"""Config files of llama-cpp-python's example server say here what they say there, and a note tells what they cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from core.contract.options import KvType, LayerWord, Lora, Pooling
from core.contract.placement import SplitMode
from core.errors import ConfigError
from core.settings.import_json import import_json
from core.settings.llama_cpp_server import AS_DEFAULT, CHANGES_ANSWERS, CHANGES_SPEED, DECLARED, MODEL
from core.settings.load import check_settings
from core.settings.profile import Profile
from core.settings.schema import Settings

LOCAL = {"alias": "m", "path": "/models/m.gguf"}


class Read(NamedTuple):
    settings: Settings
    notes: tuple[str, ...]


def read(tmp_path: Path, content: object) -> Read:
    path = tmp_path / "config.json"
    text = content if isinstance(content, str) else json.dumps(content)
    found = import_json(text.encode(), path, Settings)
    return Read(check_settings(found.sections, f"the file {path}"), found.notes)


def refusal(tmp_path: Path, content: object) -> str:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, content)
    assert str(tmp_path / "config.json") in str(error.value)
    return str(error.value)


def profile(tmp_path: Path, model: dict[str, object]) -> Profile:
    (found,) = read(tmp_path, {"model": {**LOCAL, **model}}).settings.models.values()
    return found


def hub(filename: str, **more: object) -> dict[str, object]:
    return {"model": {"from_pretrained": {"repo_id": "someone/Tiny-1B-GGUF", "filename": filename, **more}}}


def test_a_whole_config_becomes_a_served_model(tmp_path: Path) -> None:
    loaded = read(
        tmp_path,
        {
            "server": {"host": "::1", "port": 8000},
            "model": {
                "alias": "tiny",
                "from_pretrained": {"repo_id": "someone/Tiny-1B-GGUF", "filename": "Tiny-1B-Q8_0.gguf"},
                "n_ctx": 32768,
                "n_seq_max": 64,
                "n_batch": 128,
                "n_ubatch": 128,
                "threads": 4,
                "threads_batch": 8,
                "kv_unified": True,
                "n_gpu_layers": 12,
                "split_mode": 2,
                "main_gpu": 0,
                "tensor_split": [3.0, 1.0],
                "offload_kqv": False,
                "op_offload": True,
                "use_mmap": True,
                "use_mlock": True,
                "flash_attn": True,
            },
        },
    )
    settings = loaded.settings
    assert (settings.server.host, settings.server.port) == ("::1", 8000)
    assert settings.models == {
        "tiny": Profile(
            source="someone/Tiny-1B-GGUF/Tiny-1B-Q8_0.gguf",
            ctx_size=32768,
            slots=64,
            batch=128,
            micro_batch=128,
            threads=4,
            batch_threads=8,
            flash_attention=True,
            gpu_layers=12,
            split_mode=SplitMode.ROW,
            main_gpu=0,
            tensor_split=(3.0, 1.0),
            kv_offload=False,
            op_offload=True,
            mmap=True,
            mlock=True,
        )
    }
    assert settings.default_model == "tiny"
    assert loaded.notes == ()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({}, Profile(source="/models/m.gguf")),
        ({"n_ctx": None, "threads": None, "mtmd": None, "draft_model": None}, Profile(source="/models/m.gguf")),
        ({"path": "sub/m.gguf"}, Profile(source="./sub/m.gguf")),
        ({"path": "~/m.gguf"}, Profile(source="~/m.gguf")),
        ({"n_ctx": 0}, Profile(source="/models/m.gguf")),
        ({"n_ctx": 8192, "max_seq_len": 4096}, Profile(source="/models/m.gguf", ctx_size=4096)),
        ({"n_ctx": 8192, "n_seq_max": 4}, Profile(source="/models/m.gguf", ctx_size=8192, slots=4)),
        (
            {"n_ctx": 8192, "n_seq_max": 4, "kv_unified": False},
            Profile(source="/models/m.gguf", ctx_size=2048, slots=4),
        ),
        ({"n_seq_max": 256}, Profile(source="/models/m.gguf", slots=200)),
        ({"n_batch": 8}, Profile(source="/models/m.gguf", batch=32)),
        ({"n_batch": 2048, "n_ubatch": 128}, Profile(source="/models/m.gguf", batch=2048, micro_batch=128)),
        ({"draft_model": "prompt-lookup-decoding"}, Profile(source="/models/m.gguf", draft="prompt-lookup")),
        ({"type_k": 8, "type_v": 8}, Profile(source="/models/m.gguf", kv_type=KvType.Q8_0)),
        ({"type_k": 30, "type_v": 30}, Profile(source="/models/m.gguf", kv_type=KvType.BF16)),
        ({"type_k": 1}, Profile(source="/models/m.gguf", kv_type=KvType.F16)),
        ({"type_k": 8}, Profile(source="/models/m.gguf", kv_type=KvType.Q8_0_F16)),
        ({"type_k": 8, "type_v": 2}, Profile(source="/models/m.gguf", kv_type=KvType.Q8_0_Q4_0)),
        ({key: value for key, value in AS_DEFAULT.items() if key not in DECLARED}, Profile(source="/models/m.gguf")),
    ],
    ids=str,
)
def test_a_model_is_translated(tmp_path: Path, model: dict[str, object], expected: Profile) -> None:
    assert profile(tmp_path, model) == expected


@pytest.mark.parametrize(
    ("filename", "name", "source"),
    [
        ("Tiny-Q8_0.gguf", "Tiny-Q8_0", "someone/Tiny-1B-GGUF/Tiny-Q8_0.gguf"),
        ("Q4/Tiny.gguf", "Tiny", "someone/Tiny-1B-GGUF/Q4/Tiny.gguf"),
        ("*Q4_K_M.gguf", "Tiny-1B-GGUF", "someone/Tiny-1B-GGUF:Q4_K_M"),
        ("*-UD-Q4_K_XL*.gguf", "Tiny-1B-GGUF", "someone/Tiny-1B-GGUF:UD-Q4_K_XL"),
    ],
)
def test_files_of_the_hub_are_named_as_everywhere_else(tmp_path: Path, filename: str, name: str, source: str) -> None:
    assert {key: each.source for key, each in read(tmp_path, hub(filename)).settings.models.items()} == {name: source}


def test_the_other_parts_of_a_divided_model_come_along_in_silence(tmp_path: Path) -> None:
    parts = [f"big-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    assert read(tmp_path, hub(parts[0], additional_files=parts[1:])).notes == ()


def test_a_response_schema_comes_along_as_json(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"content": {"x-regex": "(.*)"}}}
    assert json.loads(profile(tmp_path, {"response_schema": schema}).response_schema or "") == schema


@pytest.mark.parametrize("key", sorted(CHANGES_ANSWERS))
def test_what_would_change_answers_is_told_as_that(tmp_path: Path, key: str) -> None:
    samples: dict[str, object] = {
        "mtmd": {"mmproj_path": "p.gguf"},
        "kv_overrides": {"a": 1},
        "vocab_only": True,
    }
    (note,) = read(tmp_path, {"model": {**LOCAL, key: samples.get(key, 7)}}).notes
    assert note.startswith(f"model.{key} ({CHANGES_ANSWERS[key]}) is not taken over")
    assert note.endswith("answers will differ.")


NOTES = {
    "n_gpu_layers": (
        {"n_gpu_layers": -1},
        "model.n_gpu_layers: -1 means all layers there; here it is `auto`, as many of them as fit.",
    ),
    "split_mode": (
        {"split_mode": 3},
        "model.split_mode (3) is not taken over: known are 0 (none), 1 (layer), 2 (row).",
    ),
    "pooling_type": (
        {"pooling_type": 0},
        "model.pooling_type (0) is not taken over: known are 1 (mean), 2 (cls), 3 (last), 4 (rank).",
    ),
    "kv_unified": ({"kv_unified": False}, "model.kv_unified is not taken over"),
    "embedding": ({"embedding": True}, "model.embedding is not taken over"),
    "n_ubatch": ({"n_ubatch": 8}, "model.n_ubatch is taken as 32, not 8; it may be 32 to 16384."),
    "n_batch": ({"n_batch": 8}, "model.n_batch is taken as 32, not 8; it may be 32 to 16384."),
    "n_seq_max": ({"n_seq_max": 256}, "model.n_seq_max is taken as 200"),
    "drafts": (
        {"draft_model": "eagle.gguf", "draft_model_num_pred_tokens": 2},
        "model.draft_model, model.draft_model_num_pred_tokens: not taken over",
    ),
    "details of drafts": (
        {"draft_model": "prompt-lookup-decoding", "draft_model_max_ngram_size": 2},
        "model.draft_model_max_ngram_size: not taken over; how much is guessed follows what comes true.",
    ),
}


@pytest.mark.parametrize(("model", "said"), NOTES.values(), ids=NOTES)
def test_what_concerns_speed_or_memory_alone_is_told(tmp_path: Path, model: dict[str, object], said: str) -> None:
    (note,) = read(tmp_path, {"model": {**LOCAL, **model}}).notes
    assert note.startswith(said)


def test_a_pooling_is_taken_over_where_vectors_are_made(tmp_path: Path) -> None:
    assert profile(tmp_path, {"pooling_type": 3}).pooling is Pooling.LAST
    assert profile(tmp_path, {"pooling_type": -1}).pooling is None
    assert profile(tmp_path, {"pooling_type": 1, "embedding": False}).pooling is None


def test_all_layers_there_are_as_many_as_fit_here(tmp_path: Path) -> None:
    assert profile(tmp_path, {"n_gpu_layers": -1}).gpu_layers is LayerWord.AUTO


def test_a_disk_cache_is_translated(tmp_path: Path) -> None:
    disk = {"path": ".cache/sequences", "max_bytes": 1073741824, "min_tokens": 256}
    cache = read(tmp_path, hub("a.gguf") | {"disk_cache": disk}).settings.cache
    folder = str(Path.cwd() / ".cache/sequences")
    assert (cache.disk_folder, cache.disk_size, cache.disk_min_tokens) == (folder, "1073741824", 256)


@pytest.mark.parametrize("template", ["{{ messages }}", ["{{ bos_token }}", "{{ messages[0].content }}\n"]])
def test_a_chat_template_comes_along_in_one_piece_or_several(tmp_path: Path, template: str | list[str]) -> None:
    found = profile(tmp_path, {"chat_template": template}).chat_template
    assert found == (template if isinstance(template, str) else tuple(template))


def test_other_places_of_files_are_told(tmp_path: Path) -> None:
    content = hub("a.gguf", cache_dir="c", additional_files=["b.json"])
    files, folder = read(tmp_path, content).notes
    assert files == (
        "model.from_pretrained.additional_files: b.json will not be fetched; only the parts of a model are."
    )
    assert "cache_dir" in folder
    assert "HF_HUB_CACHE" in folder


def test_every_key_of_a_model_is_translated_or_told() -> None:
    translated = {
        "path",
        "from_pretrained",
        "alias",
        "n_ctx",
        "max_seq_len",
        "type_k",
        "type_v",
        "loras",
        *DECLARED,
        *("n_gpu_layers", "split_mode", "tensor_split", "pooling_type"),
        "response_schema",
    }
    drafts = {key for key in MODEL.__struct_fields__ if key.startswith("draft_model")}
    assert translated | CHANGES_ANSWERS.keys() | CHANGES_SPEED.keys() | drafts == set(MODEL.__struct_fields__)
    assert DECLARED.keys() >= {"n_batch", "n_ubatch", "n_seq_max", "threads", "threads_batch", "flash_attn"}


@pytest.mark.parametrize("types", [{"type_k": 8, "type_v": 30}, {"type_k": 3, "type_v": 3}], ids=str)
def test_types_of_the_cache_that_cannot_be_had_are_told(tmp_path: Path, types: dict[str, object]) -> None:
    loaded = read(tmp_path, {"model": {**LOCAL, **types}})
    assert loaded.settings.models["m"].kv_type is None
    (note,) = loaded.notes
    assert (
        ": known are 0 (f32), 1 (f16), 2 (q4_0), 8 (q8_0), 30 (bf16) for both, and pairs of f16, q8_0 and q4_0;" in note
    )


def test_files_are_looked_for_from_here_and_beside_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "both.gguf").touch()
    (tmp_path / "both.gguf").touch()
    (tmp_path / "beside.gguf").touch()
    found = {
        name: read(tmp_path, {"model": {"alias": "m", "path": name}}) for name in ("both.gguf", "beside.gguf", "no")
    }
    sources = [each.settings.models["m"].source for each in found.values()]
    assert sources == [str(here / "both.gguf"), str(tmp_path / "beside.gguf"), "./no"]
    assert [each.notes for each in found.values()][:2] == [(), ()]
    assert found["no"].notes == (
        "model.path: no is not there, neither from here nor beside the file; correct the path.",
    )


MISTAKES = {
    "near key": ({"model": {**LOCAL, "n_cxt": 1}}, "model.n_cxt is unknown; did you mean n_ctx?"),
    "near key below": (
        {"model": {"from_pretrained": {"repo": "a/b", "filename": "c.gguf"}}},
        "model.from_pretrained.repo is unknown; did you mean repo_id?",
    ),
    "missing": ({"model": {"from_pretrained": {"repo_id": "a/b"}}}, "model.from_pretrained.filename is missing."),
    "no model": ({"disk_cache": {"path": "x"}}, "model is missing."),
    "foreign section": ({"model": LOCAL, "queue": {}}, "queue is unknown; there are model, server, disk_cache."),
    "wrong type": ({"model": {**LOCAL, "n_ctx": "big"}}, "model.n_ctx: expected a whole number, got a text."),
    "out of range": ({"model": {**LOCAL, "threads": 0}}, "model.threads: 0 is too small; at least 1."),
    "port": ({"server": {"port": 70000}, "model": LOCAL}, "server.port: 70000 is too large; at most 65535."),
    "small context": (
        {"model": {**LOCAL, "n_ctx": 8}},
        "model.n_ctx: a request would hold 8 tokens; 16 are the fewest.",
    ),
    "no source": ({"model": {"alias": "m"}}, "model wants either path or from_pretrained, and one of them alone."),
    "two sources": (
        {"model": {**LOCAL, "from_pretrained": {"repo_id": "a/b", "filename": "c.gguf"}}},
        "model wants either path or from_pretrained",
    ),
    "vague pattern": (hub("*.gguf"), "the pattern '*.gguf' tells no quant; write the file's name."),
    "no repository": (
        {"model": {"from_pretrained": {"repo_id": "gpt2", "filename": "a.gguf"}}},
        "model.from_pretrained: 'gpt2/a.gguf' is no file of a repository",
    ),
    "straying file": (hub("../a.gguf"), "would lie outside its repository"),
}


@pytest.mark.parametrize(("content", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_file_and_key(tmp_path: Path, content: object, said: str) -> None:
    assert said in refusal(tmp_path, content)


@pytest.mark.parametrize(
    ("text", "said"), [("{", "is not JSON"), ("[1]", "holds no object of sections"), ("\xff", "is not JSON")]
)
def test_what_is_no_object_is_told_as_such(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        import_json(text.encode("latin-1"), tmp_path / "config.json", Settings)


def test_json_in_the_layout_of_the_toml_files_is_read_as_those_are(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        {
            "server": {"port": 9000, "api_key_file": None},
            "model": {"threads": 2, "ctx_size": None},
            "models": {"q": {"source": "./q.gguf", "slots": None, "sampling": {"top_k": 5}}},
        },
    ).settings
    assert settings.server.port == 9000
    assert settings.model.threads == 2
    assert settings.models["q"].sampling.top_k == 5


def test_a_mistake_in_json_of_our_layout_is_named_too(tmp_path: Path) -> None:
    assert "model.ctx_sice is unknown; did you mean ctx_size?" in refusal(tmp_path, {"model": {"ctx_sice": 1}})


def test_adapters_that_are_files_come_along(tmp_path: Path) -> None:
    found = profile(tmp_path, {"loras": [{"path": "/models/a.gguf", "scale": 0.5}, {"path": "/models/b.gguf"}]})
    assert found.loras == (Lora("/models/a.gguf", 0.5), Lora("/models/b.gguf"))
    content = {"model": {**LOCAL, "loras": [{"from_pretrained": {"repo_id": "o/r", "filename": "a"}}]}}
    (note,) = read(tmp_path, content).notes
    assert "model.loras[0] is not taken over, and answers will differ" in note
