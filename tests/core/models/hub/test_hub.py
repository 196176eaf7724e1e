"""The Hub: listing a repository and reading headers by ranges, against a real HTTP server on loopback."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.contract.options import KvType
from core.errors import (
    ArtifactError,
    BenchtopError,
    GatedRepository,
    HubBusy,
    HubError,
    HubUnreachable,
    RepositoryNotFound,
    RequestError,
)
from core.guide import WEIGHTS
from core.models.formats.read import read_header
from core.models.hub.endpoint import HubAccess
from core.models.hub.hub import Hub
from core.models.hub.repository import Quant
from tests.core.models.formats.test_gguf_header import artifact
from tests.fakes.headers import gguf_bytes, safetensors_bytes
from tests.fakes.hub import Fault, LoopbackHub, Sparse

GUIDE = WEIGHTS.read_bytes()
CONFIG = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "quantization": {"bits": 4, "group_size": 64},
}


@pytest.fixture
def loopback() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture
def hub(loopback: LoopbackHub, tmp_path: Path) -> Iterator[Hub]:
    hub = asking(loopback, tmp_path)
    yield hub
    hub.close()


def asking(loopback: LoopbackHub, path: Path, *, token: str | None = None, offline: bool = False) -> Hub:
    return Hub(path / "headers", HubAccess(loopback.url, path / "hub", token, offline))


def only(hub: Hub, name: str) -> Quant:
    (quant,) = hub.repository(name).quants
    return quant


def test_a_repository_is_listed_with_its_quants(hub: Hub, loopback: LoopbackHub) -> None:
    commit = loopback.add(
        "owner/name",
        {"README.md": b"#", "a-Q4_0.gguf": b"x" * 50, "a-Q8_0.gguf": b"y" * 90, "mmproj-a-F16.gguf": b"z"},
        downloads=7,
        likes=2,
        licence="mit",
    )
    told = hub.repository("owner/name")
    assert (told.id, told.revision, told.licence, told.downloads, told.likes) == ("owner/name", commit, "mit", 7, 2)
    assert [(quant.label, quant.size, quant.revision) for quant in told.quants] == [
        ("Q4_0", 50, commit),
        ("Q8_0", 90, commit),
    ]
    assert [file.path for file in told.projectors] == ["mmproj-a-F16.gguf"]
    assert told.quants[0].files[0].sha256 is not None
    assert told.updated is not None


def test_an_earlier_revision_can_be_listed(hub: Hub, loopback: LoopbackHub) -> None:
    first = loopback.add("owner/name", {"a-Q4_0.gguf": b"1"})
    loopback.add("owner/name", {"a-Q8_0.gguf": b"2"})
    assert [quant.label for quant in hub.repository("owner/name", first).quants] == ["Q4_0"]
    assert [quant.label for quant in hub.repository("owner/name").quants] == ["Q8_0"]


def test_safetensors_are_labelled_by_their_configuration(hub: Hub, loopback: LoopbackHub) -> None:
    files = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": safetensors_bytes({})}
    loopback.add("owner/name", files)
    assert only(hub, "owner/name").label == "4bit"


def test_a_gguf_header_is_read_without_downloading_the_file(hub: Hub, loopback: LoopbackHub) -> None:
    words = [f"word {number}" for number in range(60_000)]
    head = gguf_bytes({"general.architecture": "llama", "llama.block_count": 3, "tokenizer.ggml.tokens": words})
    loopback.add("owner/name", {"a-Q4_0.gguf": Sparse(size=2_000_000_000, head=head)})
    header = hub.header(only(hub, "owner/name"))
    assert (len(header.layers), header.vocabulary) == (3, 60_000)
    assert loopback.bytes_sent("/cdn/*") <= 8 << 20


def test_a_header_elsewhere_says_what_the_same_file_says_here(hub: Hub, loopback: LoopbackHub) -> None:
    loopback.add("owner/name", {"guide.gguf": GUIDE})
    assert hub.header(only(hub, "owner/name")) == read_header(artifact(WEIGHTS))


def test_a_header_is_kept_for_its_commit(hub: Hub, loopback: LoopbackHub, tmp_path: Path) -> None:
    loopback.add("owner/name", {"guide.gguf": GUIDE})
    quant = only(hub, "owner/name")
    first = hub.header(quant)
    asked = len(loopback.requests)
    assert asking(loopback, tmp_path).header(quant) == first
    assert len(loopback.requests) == asked


def test_a_damaged_record_of_a_header_is_a_miss(hub: Hub, loopback: LoopbackHub, tmp_path: Path) -> None:
    loopback.add("owner/name", {"guide.gguf": GUIDE})
    quant = only(hub, "owner/name")
    first = hub.header(quant)
    for path in (tmp_path / "headers").iterdir():
        path.write_bytes(b"damaged")
    assert hub.header(quant) == first


def test_a_folder_elsewhere_is_described_by_its_configuration_and_tables(hub: Hub, loopback: LoopbackHub) -> None:
    shard = safetensors_bytes({"q.weight": ("U32", (64, 8), 2048), "q.scales": ("BF16", (64, 1), 128)})
    loopback.add(
        "owner/name",
        {
            "config.json": json.dumps(CONFIG).encode(),
            "chat_template.jinja": b"{{ messages }}",
            "model-00001-of-00002.safetensors": shard,
            "model-00002-of-00002.safetensors": shard,
        },
    )
    header = hub.header(only(hub, "owner/name"))
    assert (header.parameters, header.weight_bytes, header.quantization) == (8192, 2 * 2176, "4-bit")
    assert header.kv_bytes_per_token(KvType.F16) == 2 * 2 * 32 * 2
    assert header.template


def test_a_server_without_ranges_is_read_as_far_as_needed(hub: Hub, loopback: LoopbackHub) -> None:
    loopback.add("owner/name", {"guide.gguf": GUIDE})
    quant = only(hub, "owner/name")
    loopback.faults.append(Fault("/cdn/*", ignore_range=True, times=None))
    assert hub.header(quant).architecture == "llama"


def test_a_damaged_header_elsewhere_is_refused_in_a_sentence(hub: Hub, loopback: LoopbackHub) -> None:
    loopback.add("owner/name", {"a-Q4_0.gguf": b"GGUF" + b"\xff" * 400})
    with pytest.raises(ArtifactError, match="owner/name:Q4_0 cannot be read"):
        hub.header(only(hub, "owner/name"))


def test_the_token_goes_to_the_hub_and_not_to_where_the_files_are(loopback: LoopbackHub, tmp_path: Path) -> None:
    loopback.add("owner/name", {"guide.gguf": GUIDE}, private=True)
    hub = asking(loopback, tmp_path, token="hf_reader")
    assert hub.header(only(hub, "owner/name")).architecture == "llama"
    assert {"authorization" in asked.headers for asked in loopback.requests if not asked.cdn} == {True}
    assert {"authorization" in asked.headers for asked in loopback.requests if asked.cdn} == {False}


def test_a_gated_repository_is_listed_and_its_files_say_whom_to_ask(hub: Hub, loopback: LoopbackHub) -> None:
    loopback.add("owner/name", {"guide.gguf": GUIDE, "config.json": b"{}", "model.safetensors": b"x"}, gated=True)
    told = hub.repository("owner/name")
    assert told.gated
    quant = next(quant for quant in told.quants if quant.format == "gguf")
    with pytest.raises(GatedRepository, match=r"accept the terms at http.+/owner/name, then set HF_TOKEN .* `hf auth"):
        hub.header(quant)


def test_who_has_a_token_and_was_not_let_in_is_told_to_wait(loopback: LoopbackHub, tmp_path: Path) -> None:
    loopback.add("owner/name", {"guide.gguf": GUIDE}, gated=True, token="hf_other")
    hub = asking(loopback, tmp_path, token="hf_reader")
    with pytest.raises(GatedRepository, match="has not let you in yet"):
        hub.header(only(hub, "owner/name"))


@pytest.mark.parametrize("private", [True, False])
def test_a_hidden_repository_is_as_one_that_is_not_there(private: bool, hub: Hub, loopback: LoopbackHub) -> None:
    if private:
        loopback.add("owner/name", {"guide.gguf": GUIDE}, private=True)
    with pytest.raises(RepositoryNotFound, match=r"no repository owner/name, or hides it: .* HF_TOKEN"):
        hub.repository("owner/name")


def test_an_unknown_revision_is_named_as_such(hub: Hub, loopback: LoopbackHub) -> None:
    loopback.add("owner/name", {"guide.gguf": GUIDE})
    with pytest.raises(RepositoryNotFound, match="no such revision"):
        hub.repository("owner/name", "v9")


REFUSALS: list[tuple[Fault, type[BenchtopError], str]] = [
    (Fault(status=429, headers={"Retry-After": "30"}), HubBusy, "Try again in 30 s, or set HF_TOKEN"),
    (Fault(status=429), HubBusy, "in a few minutes"),
    (Fault(status=500), HubUnreachable, "failed with status 500"),
    (Fault(status=503), HubUnreachable, "failed with status 503"),
    (Fault(status=403), GatedRepository, "refuses owner/name"),
    (Fault(status=418), HubError, "status 418"),
    (Fault(drop_after=10), HubError, "broken off or damaged"),
    (Fault(redirect="/api/models/owner/name", times=None), HubError, "no address of a Hub"),
]


@pytest.mark.parametrize(("fault", "kind", "words"), REFUSALS, ids=[words for _, _, words in REFUSALS])
def test_each_refusal_is_a_sentence(
    fault: Fault, kind: type[BenchtopError], words: str, hub: Hub, loopback: LoopbackHub
) -> None:
    loopback.add("owner/name", {"guide.gguf": GUIDE})
    loopback.faults.append(fault)
    with pytest.raises(kind, match=words) as caught:
        hub.repository("owner/name")
    assert str(caught.value).endswith(".")


def test_how_long_to_wait_is_known_where_the_hub_says_it(hub: Hub, loopback: LoopbackHub) -> None:
    loopback.faults.append(Fault(status=429, headers={"Retry-After": "30"}))
    with pytest.raises(HubBusy) as caught:
        hub.repository("owner/name")
    assert caught.value.retry_after == 30


def test_a_wrong_token_is_named_as_such(loopback: LoopbackHub, tmp_path: Path) -> None:
    loopback.faults.append(Fault(status=401))
    with pytest.raises(GatedRepository, match="does not know the token"):
        asking(loopback, tmp_path, token="hf_wrong").repository("owner/name")


def test_without_a_network_the_sentence_names_the_host(hub: Hub, loopback: LoopbackHub) -> None:
    loopback.stop()
    with pytest.raises(HubUnreachable, match=r"No answer came from 127\.0\.0\.1"):
        hub.repository("owner/name")


def test_offline_the_hub_is_not_asked(loopback: LoopbackHub, tmp_path: Path) -> None:
    with pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE is set"):
        asking(loopback, tmp_path, offline=True).repository("owner/name")
    assert loopback.requests == []


def test_an_endpoint_that_is_no_address_is_named(tmp_path: Path) -> None:
    for address in ("ftp://hub", "http://h..x", "http://xn--"):
        hub = Hub(tmp_path, HubAccess(address, tmp_path))
        with pytest.raises(HubError, match="correct HF_ENDPOINT"):
            hub.repository("owner/name")


def test_a_proxy_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "foo://bar")
    monkeypatch.setenv("http_proxy", "foo://bar")
    with pytest.raises(HubError, match=r"The proxy .* correct HTTP_PROXY"):
        Hub(tmp_path, HubAccess("http://127.0.0.1:1", tmp_path)).repository("owner/name")


@pytest.mark.parametrize("name", ["name", "a/b/c", "../etc", "a/..", "owner/na me", "", "owner/name?x=1"])
def test_what_cannot_be_a_repository_is_not_asked_for(name: str, hub: Hub, loopback: LoopbackHub) -> None:
    with pytest.raises(RequestError, match="write owner/name"):
        hub.repository(name)
    assert loopback.requests == []


@pytest.mark.parametrize(
    "path", ["../../evil.gguf", "/etc/evil.gguf", "a/%2e%2e/evil.gguf", "C:/evil.gguf", "a\\b.gguf"]
)
def test_a_file_that_leads_out_of_its_repository_is_refused(path: str, hub: Hub, loopback: LoopbackHub) -> None:
    loopback.add("owner/name", {path: b"x"})
    with pytest.raises(HubError, match="outside"):
        hub.repository("owner/name")


def test_an_answer_that_is_no_hubs_is_named(hub: Hub, loopback: LoopbackHub) -> None:
    loopback.add("owner/name", {"guide.gguf": GUIDE})
    loopback.faults.append(Fault(corrupt=True))
    with pytest.raises(HubError, match="cannot be understood"):
        hub.repository("owner/name")
