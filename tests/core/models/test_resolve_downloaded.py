"""Names of the Hub and of the catalog: what is on this machine, and what is said of what is not."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.contract.artifact import SCRIPT, Artifact, FormatName
from core.engines.registry import Engines
from core.errors import ArtifactError, ModelNotFound, NotDownloaded
from core.guide import WEIGHTS
from core.models.catalog import Catalog, decode_catalog
from core.models.formats.registry import FORMATS
from core.models.hub.cache import find_cache_folder
from core.models.hub.choose_quant import choose_quant
from core.models.hub.quants import group_quants
from core.models.hub.repository import RepoFile, Repository
from core.models.library.scan import Library
from core.models.library.variants import list_formats, provide_variant
from core.models.resolve import find_quant, list_candidates, read_own, resolve_own
from core.names import HubName, parse_name
from tests.fakes.hub import LoopbackHub
from tests.fakes.hubcache import COMMIT, OTHER, cached
from tests.fakes.speech import write_whisper

CATALOG: Catalog = decode_catalog(
    """
    [tiny]
    title = "Tiny"
    parameters = 0.004
    licence = "mit"
    gguf = "owner/tiny-GGUF"
    mlx = { 4bit = "owner/tiny-4bit", 8bit = "owner/tiny-8bit" }

    [speech]
    title = "Speech"
    task = "speech"
    parameters = 0.04
    licence = "mit"
    default = "fp16"
    whisper = { fp16 = "owner/whisper/ggml-base.bin" }
    """
)
GGUF = WEIGHTS.read_bytes()
MLX = {"config.json": b'{"model_type": "llama", "quantization": {"bits": 4}}', "model.safetensors": b"w" * 10}
INDEX = b'{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'


def found(name: str, cache: Path, order: Sequence[FormatName] = tuple(FORMATS)) -> Artifact:
    return resolve_own(name, cache=cache, catalog=CATALOG, formats=order)


def test_a_model_of_the_cache_is_found_by_repository_label_and_file(tmp_path: Path) -> None:
    snapshot = cached(tmp_path, "owner/tiny-GGUF", {"tiny-Q4_K_M.gguf": GGUF, "tiny-Q8_0.gguf": GGUF + b"8"})
    for name in ("owner/tiny-GGUF", "owner/tiny-GGUF:Q4_K_M", "owner/tiny-GGUF/tiny-Q4_K_M.gguf", "tiny", "TINY:4bit"):
        artifact = found(name, tmp_path)
        assert artifact.path == snapshot / "tiny-Q4_K_M.gguf"
        assert (artifact.format, artifact.size) == ("gguf", len(GGUF))
    assert found("tiny:8bit", tmp_path).path == snapshot / "tiny-Q8_0.gguf"
    assert found("owner/tiny-GGUF:Q8_0", tmp_path).name == "owner/tiny-GGUF:Q8_0"
    assert found("Tiny:4bit", tmp_path).name == "tiny:4bit"


def test_what_is_not_here_says_what_to_type_and_what_would_be_downloaded(tmp_path: Path) -> None:
    cached(tmp_path, "owner/tiny-GGUF", {"tiny-Q4_K_M.gguf": GGUF})
    with pytest.raises(
        NotDownloaded, match=r"tiny:8bit is not on this machine; `tui pull tiny:8bit` downloads it\."
    ) as e:
        found("tiny:8bit", tmp_path, ("mlx", "gguf"))
    assert e.value.repositories == ("owner/tiny-8bit", "owner/tiny-GGUF")
    with pytest.raises(NotDownloaded, match="tui pull owner/none") as e:
        found("https://huggingface.co/owner/none", tmp_path)
    assert e.value.repositories[0] == "owner/none"
    with pytest.raises(NotDownloaded, match="neither as a file nor"):
        found("owner/none/a/b.gguf", tmp_path)


def test_both_formats_of_an_alias_are_offered_to_the_engines(tmp_path: Path) -> None:
    cached(tmp_path, "owner/tiny-GGUF", {"tiny-Q4_K_M.gguf": GGUF})
    folder = cached(tmp_path, "owner/tiny-4bit", MLX)
    artifact = found("tiny", tmp_path, ("mlx", "gguf"))
    assert (artifact.format, artifact.path) == ("mlx", folder)
    assert list_formats(artifact) == ("mlx", "gguf")
    other = provide_variant(artifact, "gguf", tmp_path)
    assert (other.path.name, other.name, other.others) == ("tiny-Q4_K_M.gguf", "tiny", ())
    assert provide_variant(artifact, "mlx", tmp_path).others == ()
    assert len(list_candidates(read_own("tiny", CATALOG), cache=tmp_path, catalog=CATALOG)) == 2


def test_a_variant_that_no_engine_here_takes_is_told_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no tiny:fp16 that can be run here; it has tiny:4bit"):
        found("tiny:fp16", tmp_path, ("mlx",))


def test_an_unknown_word_is_told_the_nearest_names(tmp_path: Path) -> None:
    cached(tmp_path, "owner/something", {"a.gguf": GGUF})
    with pytest.raises(ModelNotFound, match=r"no model called 'tinny'.* Did you mean tiny\?"):
        found("tinny", tmp_path)
    with pytest.raises(ModelNotFound, match="Did you mean owner/something"):
        found("owner-something", tmp_path)
    with pytest.raises(ModelNotFound, match="Did you mean my-model"):
        resolve_own("my-modell", cache=tmp_path, catalog=CATALOG, known=["my-model"])


def test_what_was_pulled_by_the_name_of_a_listing_is_found_by_it_where_it_is_alone(tmp_path: Path) -> None:
    """As a download leaves it: of each repository, what the name stood for among the files of the listing."""
    listings = {
        "o/m:pte-a": ("a.pte", "b.pte"),
        "o/g:M-Q8_0": ("M-Q8_0.gguf", "long/the-other-one-Q8_0.gguf", "Q8_0/Z-Q8_0.gguf"),
        "o/h:Z-Q8_0": ("M-Q8_0.gguf", "Q8_0/Z-Q8_0.gguf"),
        "o/f:b-model": ("a/model.gguf", "b/model.gguf"),
        "o/w:UD-Q4_K_XL": ("UD-Q4_K_XL/w-1.gguf", "Q4_0/w-1.gguf"),
    }
    for name, paths in listings.items():
        repo = name.partition(":")[0]
        files = tuple(RepoFile(path, 1000 + index) for index, path in enumerate(paths))
        listed = Repository(repo, COMMIT, files, group_quants(repo, COMMIT, files))
        asked = parse_name(name)
        assert isinstance(asked, HubName)
        quant = choose_quant(asked, listed)
        snapshot = cached(tmp_path, repo, {file.path: GGUF for file in quant.files})
        path = quant.files[0].path
        artifact = found(name, tmp_path)
        assert artifact.path in (snapshot, snapshot / path)
        assert found(f"{repo}/{path}", tmp_path).path == artifact.path
    assert found("https://huggingface.co/o/w/tree/main/UD-Q4_K_XL", tmp_path).name == "o/w/UD-Q4_K_XL"


def test_main_goes_before_newer_commits_and_older_ones_fill_in(tmp_path: Path) -> None:
    old = cached(tmp_path, "o/r", {"m-Q8_0.gguf": GGUF + b"8", "m-Q4_K_M.gguf": GGUF + b"old"}, OTHER)
    new = cached(tmp_path, "o/r", {"m-Q4_K_M.gguf": GGUF}, COMMIT)
    assert found("o/r", tmp_path).path == new / "m-Q4_K_M.gguf"
    assert found("o/r:Q8_0", tmp_path).path == old / "m-Q8_0.gguf"
    assert found(f"o/r@{OTHER}:Q4_K_M", tmp_path).path == old / "m-Q4_K_M.gguf"
    with pytest.raises(NotDownloaded):
        found("o/r@v2", tmp_path)


def test_a_cache_without_a_branch_serves_its_newest_commit(tmp_path: Path) -> None:
    snapshot = cached(tmp_path, "o/r", {"m-Q4_K_M.gguf": GGUF}, main=False)
    assert found("o/r", tmp_path).path.parent == snapshot


def test_a_folder_with_missing_shards_counts_as_not_downloaded(tmp_path: Path) -> None:
    first = {**MLX, "model.safetensors.index.json": INDEX}
    first["model-00001-of-00002.safetensors"] = first.pop("model.safetensors")
    snapshot = cached(tmp_path, "owner/tiny-4bit", first)
    with pytest.raises(NotDownloaded):
        found("tiny", tmp_path)
    (snapshot / "model-00002-of-00002.safetensors").write_bytes(b"x")
    assert found("tiny", tmp_path).path == snapshot


def test_one_of_several_graphs_is_named_by_its_file_and_a_single_one_by_the_folder(tmp_path: Path) -> None:
    files = {"config.json": b"{}", "onnx/model.onnx": b"1", "onnx/model_q4.onnx": b"22"}
    snapshot = cached(tmp_path, "o/several", files)
    assert found("o/several:q4", tmp_path).path == snapshot / "onnx" / "model_q4.onnx"
    single = cached(tmp_path, "o/single", {"config.json": b"{}", "onnx/model_q4.onnx": b"22"})
    assert found("o/single", tmp_path).path == single


def test_a_whisper_file_is_found_by_its_alias(tmp_path: Path) -> None:
    content = write_whisper(tmp_path / "w.bin").read_bytes()
    snapshot = cached(tmp_path / "cache", "owner/whisper", {"ggml-base.bin": content, "ggml-tiny.bin": content + b"t"})
    artifact = found("speech", tmp_path / "cache")
    assert (artifact.path, artifact.format) == (snapshot / "ggml-base.bin", "ggml-whisper")


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_cache_folder({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}) == Path("/a")
    assert find_cache_folder({"HF_HOME": "/b"}) == Path("/b/hub")
    assert find_cache_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/huggingface/hub")
    assert find_cache_folder({}) == Path.home() / ".cache" / "huggingface" / "hub"
    cached(tmp_path, "owner/here", {"m-Q4_K_M.gguf": GGUF})
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert resolve_own("owner/here").name == "owner/here"


def test_a_split_file_is_found_by_any_part_and_counts_whole(tmp_path: Path) -> None:
    parts = [tmp_path / f"big-{number:05}-of-00003.gguf" for number in (1, 2, 3)]
    for part in parts:
        part.write_bytes(GGUF)
    for part in parts:
        artifact = resolve_own(str(part))
        assert (artifact.name, artifact.path, artifact.size) == ("big", parts[0], 3 * len(GGUF))
    parts[1].unlink()
    with pytest.raises(ArtifactError, match=r"split into 3 files, of which big-00002-of-00003\.gguf is missing"):
        resolve_own(str(parts[0]))


def test_split_files_in_the_cache_keep_their_names(tmp_path: Path) -> None:
    files = {f"m-Q8_0-{number:05}-of-00002.gguf": GGUF + bytes([number]) for number in (1, 2)}
    snapshot = cached(tmp_path, "o/r", files)
    artifact = found("o/r:8bit", tmp_path)
    assert artifact.path == snapshot / "m-Q8_0-00001-of-00002.gguf"
    assert artifact.size == 2 * len(GGUF) + 2
    (snapshot / "m-Q8_0-00002-of-00002.gguf").unlink()
    with pytest.raises(NotDownloaded):
        found("o/r:8bit", tmp_path)


def test_a_path_that_is_there_goes_before_the_repository_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner").mkdir()
    shutil.copy(WEIGHTS, tmp_path / "owner" / "repo")
    monkeypatch.chdir(tmp_path)
    assert resolve_own("owner/repo", cache=tmp_path).path == tmp_path / "owner" / "repo"


def test_a_download_is_chosen_of_the_first_repository_that_has_it() -> None:
    def listed(repo: str, revision: str | None) -> Repository:
        names = {"owner/tiny-GGUF": ["t-Q8_0.gguf"], "owner/tiny-4bit": ["config.json", "model.safetensors"]}[repo]
        files = tuple(RepoFile(name, 1) for name in names)
        return Repository(repo, "c", files, group_quants(repo, "c", files))

    assert find_quant(read_own("tiny:8bit", CATALOG), listed, catalog=CATALOG).name == "owner/tiny-GGUF:Q8_0"
    assert find_quant(read_own("tiny", CATALOG), listed, catalog=CATALOG).name == "owner/tiny-4bit:4bit"
    assert find_quant(read_own("owner/tiny-GGUF", CATALOG), listed, catalog=CATALOG).label == "Q8_0"
    for name, says in (("guide", "nothing to download"), ("tinny", "Did you mean tiny"), ("tiny:Q2_K", "has no Q2_K")):
        with pytest.raises(ModelNotFound, match=says):
            find_quant(read_own(name, CATALOG), listed, catalog=CATALOG)


def test_what_huggingface_hub_downloads_is_found(tmp_path: Path) -> None:
    from huggingface_hub import hf_hub_download

    with LoopbackHub() as hub:
        commit = hub.add("owner/tiny-GGUF", {"tiny-Q4_K_M.gguf": GGUF, "tiny-Q8_0.gguf": GGUF})
        for file in ("tiny-Q4_K_M.gguf", "tiny-Q8_0.gguf"):
            hf_hub_download("owner/tiny-GGUF", file, cache_dir=tmp_path, endpoint=hub.url, token=False)
    artifact = found("tiny", tmp_path)
    assert artifact.path.parent.name == commit
    assert artifact.path.read_bytes() == GGUF
    library = Library(cache=tmp_path)
    assert {entry.name for entry in library.scan()} > {"owner/tiny-GGUF:Q4_K_M", "owner/tiny-GGUF:Q8_0"}


def test_a_home_that_nobody_has_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no user"):
        found("~nobody-of-that-name/x.gguf", tmp_path)


def test_engines_tell_which_formats_run_here() -> None:
    takers = Engines().takers()
    assert "llamacpp" in takers["gguf"]
    assert takers[SCRIPT] == ("echo",)
