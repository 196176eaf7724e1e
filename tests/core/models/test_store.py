"""The store: formats in order of preference, and estimates that learn from what loading took."""

import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.engine import Engine
from core.contract.options import KvType, LoadOptions, Pooling
from core.contract.placement import HOST, DeviceTaken, Placement
from core.devices.device import Backend, Device, DeviceKind
from core.engines.registry import Engines
from core.errors import NotDownloaded
from core.guide import WEIGHTS
from core.models.fit.estimate import Fit
from core.models.fit.plan import count_reserve
from core.models.fit.records import ENOUGH_LOADS
from core.models.formats.format import Format
from core.models.formats.header import Header, Layer
from core.models.formats.registry import GROUP, Formats
from core.models.formats.source import Files
from core.models.resolve import resolve_own
from core.models.store import Store
from core.plugins import Plugin
from core.settings.model import ModelSettings
from core.settings.profile import Profile
from core.settings.schema import Settings
from core.snapshots import ModelKind
from core.trial.probe import Prober
from tests.fakes.shaped_headers import HALF, make_header
from tests.fakes.support import folders_in

GUIDE = resolve_own("guide")
LOCATION = "core.engines.llamacpp.engine:LlamaCppEngine"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Settings(), folders_in(tmp_path), Engines({"llamacpp": LOCATION}), LoadOptions())


def test_a_trial_run_records_what_a_model_took_beside_what_was_estimated(store: Store, tmp_path: Path) -> None:
    prober = Prober(tmp_path, 60.0, store.learn)
    engine = Engines().get("llamacpp")
    prober.probe(engine, LOCATION, GUIDE, LoadOptions(threads=1), threading.Event(), budget=20.0)
    (record,) = store.records.all()
    assert (record.engine, record.model.architecture) == ("llamacpp", "llama")
    (host,) = record.devices
    # Beside a model this small the library's own pages count, and how many it touches depends on the processor.
    assert abs(host.measured - host.predicted.loaded) < 2 * host.predicted.overhead
    judged = store.judge(store.header(GUIDE))
    assert judged.seen == record
    # A verdict that is kept measures nothing anew.
    prober.probe(engine, LOCATION, GUIDE, LoadOptions(threads=1), threading.Event(), budget=20.0)
    assert len(store.records.all()) == 1


def test_estimates_are_corrected_by_what_loading_took(store: Store) -> None:
    header = store.header(GUIDE)
    before = store.judge(header).fit.parts
    options = LoadOptions(ctx_size=2048, slots=1)
    store.learn("llamacpp", GUIDE, options, 0)
    predicted = store.records.all()[0].devices[0].predicted
    store.learn("llamacpp", GUIDE, options, predicted.loaded + (1 << 20))
    after = store.judge(header).fit.parts
    assert after.overhead == before.overhead + (1 << 20)
    # Of another model it is the median of several loads.
    other = replace(header, name="another")
    assert store.judge(other).fit.parts == before
    rest = predicted.compute + predicted.vocabulary + predicted.overhead
    for number in range(ENOUGH_LOADS):
        store.learn("llamacpp", GUIDE, replace(options, ctx_size=512 + number), predicted.loaded + rest)
    assert store.judge(other).fit.parts.overhead > 1.5 * before.overhead
    assert (after.weights, after.kv) == (before.weights, before.kv)


def test_what_a_placement_took_is_learned_of_each_device(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Device("here", DeviceKind.HOST, 1 << 40, 1 << 39)
    card = Device("a card", DeviceKind.CARD, 1 << 40, 1 << 39, "CUDA0", Backend.CUDA)
    monkeypatch.setattr("core.models.store.list_devices", lambda: (host, card))
    options = LoadOptions(ctx_size=512, slots=1, placement=Placement(devices=("CUDA0",), layers=2))
    # In a process of which devices have a part, main memory alone says nothing.
    store.learn("llamacpp", GUIDE, options, 1 << 20)
    assert store.records.all() == []
    store.learn_placed("llamacpp", GUIDE, options, (DeviceTaken(HOST, 1 << 20), DeviceTaken("CUDA0", 2 << 20)))
    (record,) = store.records.all()
    assert [(each.device, each.measured) for each in record.devices] == [(HOST, 1 << 20), ("CUDA0", 2 << 20)]
    assert sum(each.predicted.weights for each in record.devices) >= store.header(GUIDE).weight_bytes
    assert min(each.predicted.weights for each in record.devices) > 0


def test_what_drafts_for_a_model_is_a_part_of_what_it_needs(tmp_path: Path) -> None:
    draft = tmp_path / "small.gguf"
    draft.write_bytes(WEIGHTS.read_bytes())
    options = LoadOptions(ctx_size=256, slots=1)
    header = make_header(HALF)

    def judge(settings: Settings, profile: Profile = Profile()) -> Fit:
        store = Store(settings, folders_in(tmp_path), Engines({"llamacpp": LOCATION}), options)
        return store.judge(header, profile=profile).fit

    alone = judge(Settings()).parts.needed
    assert judge(Settings(model=ModelSettings(draft="prompt-lookup"))).parts.needed == alone
    asked = [
        judge(Settings(model=ModelSettings(draft=str(draft)))),
        judge(Settings(), Profile(draft=str(draft))),
    ]
    # With its KV cache and all else that it takes.
    assert all(fit.parts.needed > alone + draft.stat().st_size + (1 << 20) for fit in asked)
    lost = judge(Settings(), Profile(draft=str(tmp_path / "gone.gguf")))
    assert lost.parts.needed == alone
    assert lost.notes[0].startswith("What is to draft for it is not here, or cannot be read")


def test_the_profile_of_a_model_is_found_by_its_name_and_by_what_it_is_loaded_from(tmp_path: Path) -> None:
    profiles = {"small": Profile(source="owner/repo", draft="guide"), "guide": Profile(slots=3)}
    store = Store(Settings(models=profiles), folders_in(tmp_path), Engines({"llamacpp": LOCATION}), LoadOptions())
    assert [store.find_profile(name) for name in ("small", "owner/repo", "guide", "other")] == [
        profiles["small"],
        profiles["small"],
        profiles["guide"],
        Profile(),
    ]


def test_what_cannot_be_read_is_not_recorded_and_expected_to_take_its_size(store: Store, tmp_path: Path) -> None:
    nothing = Artifact("nothing", "gguf", tmp_path / "nothing.gguf", 1234)
    store.learn("llamacpp", nothing, LoadOptions(ctx_size=64), 1)
    assert store.records.all() == []
    assert store.expect(nothing, Profile(), 1 << 40) == {HOST: 1234}


def test_a_model_is_expected_to_take_what_its_settings_ask_and_no_more_than_there_is(store: Store) -> None:
    small = store.expect(GUIDE, Profile(ctx_size=256, slots=1), 1 << 40)[HOST]
    large = store.expect(GUIDE, Profile(ctx_size=2048, slots=16), 1 << 40)[HOST]
    assert GUIDE.size < small < large
    # Where slots are left open, they go by the memory that may be taken.
    assert store.expect(GUIDE, Profile(), 24 << 20)[HOST] < store.expect(GUIDE, Profile(), 1 << 40)[HOST]


def test_a_model_is_expected_to_take_what_trial_runs_have_made_of_its_options(store: Store) -> None:
    profile = Profile(ctx_size=2048, slots=1)

    def larger(engine: Engine, artifact: Artifact, options: LoadOptions) -> LoadOptions:
        assert (engine.name, artifact, options.ctx_size) == ("llamacpp", GUIDE, 2048)
        return replace(options, batch=2048, micro_batch=2048)

    assert store.expect(GUIDE, profile, 1 << 40, larger)[HOST] > store.expect(GUIDE, profile, 1 << 40)[HOST]


def test_what_is_left_free_on_a_card_is_expected_to_be_taken_there(store: Store) -> None:
    host = Device("a processor", DeviceKind.HOST, 64 << 30, 32 << 30)
    card = Device("a card", DeviceKind.CARD, 8 << 30, 4 << 30, "CUDA0", Backend.CUDA)
    (share,) = store.judge(store.header(GUIDE), memory=(host, card)).fit.plan.on_devices
    expected = store.expect(GUIDE, Profile(), 1 << 40, devices=(host, card))
    assert expected["CUDA0"] == share.parts.needed + count_reserve(card)


def test_adapters_are_a_part_of_what_a_model_takes(store: Store, tmp_path: Path) -> None:
    (tmp_path / "adapter.gguf").write_bytes(bytes(5000))
    options = LoadOptions(ctx_size=256, slots=1, loras=(str(tmp_path / "adapter.gguf"), str(tmp_path / "not there")))
    adapted = Store(Settings(), folders_in(tmp_path), Engines({"llamacpp": LOCATION}), options)
    plain = Store(Settings(), folders_in(tmp_path), Engines({"llamacpp": LOCATION}), replace(options, loras=()))
    header = plain.header(GUIDE)
    added = adapted.judge(header).fit.parts.needed - plain.judge(header).fit.parts.needed
    assert added == 5000
    more, less = (sum(each.expect(GUIDE, Profile(), 1 << 40).values()) for each in (adapted, plain))
    assert more - less == 5000


def test_fit_is_judged_for_the_context_and_type_that_are_asked_for(store: Store) -> None:
    header = store.header(GUIDE)
    usual = store.judge(header, context=1024)
    assert usual.setup.context == 1024
    assert store.judge(header, context=2048).fit.parts.kv > usual.fit.parts.kv
    assert store.judge(header, context=1024, kv=KvType.Q8_0).fit.parts.kv < usual.fit.parts.kv
    assert usual.largest == header.trained_context
    device = usual.fit.plan.host.device
    assert store.judge(header, memory=(replace(device, free=1 << 20),)).largest is None


def test_what_the_engine_would_refuse_of_a_kv_type_is_in_the_verdict(tmp_path: Path) -> None:
    options = LoadOptions(flash_attention=False)
    store = Store(Settings(), folders_in(tmp_path), Engines(), options)
    header = store.header(GUIDE)
    assert store.judge(header, kv=KvType.Q8_0_F16).fit.notes == ()
    (note,) = store.judge(header, kv=KvType.Q8_0).fit.notes
    assert note == "Quantized values need flash attention; leave out --no-flash-attention, or use --kv-type q8_0/f16."


def test_what_is_to_be_known_of_a_kv_type_is_in_the_verdict(store: Store) -> None:
    header = store.header(GUIDE)
    told = {kv: [note for note in store.judge(header, kv=kv).fit.notes if "4 bits" in note] for kv in KvType}
    assert {kv for kv, notes in told.items() if notes} == {KvType.Q4_0, KvType.Q4_0_F16, KvType.Q4_0_Q8_0}


def test_formats_that_choose_their_kv_type_are_estimated_as_they_are(store: Store) -> None:
    for format_, told in (("gguf", KvType.Q4_0), ("mlx", KvType.Q4_0), ("onnx", KvType.F16)):
        header = replace(store.header(GUIDE), format=format_)
        assert store.judge(header, kv=KvType.Q4_0).setup.kv is told


def test_gguf_is_preferred_to_other_formats_off_a_mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.hardware import describe_machine
    from core.models import store as module

    store = Store(Settings(), folders_in(tmp_path), Engines(), LoadOptions())
    linux = replace(describe_machine(), system="linux", architecture="x86_64")
    monkeypatch.setattr(module, "describe_machine", lambda: linux)
    assert store.formats[0] == "gguf"
    if "mlx" in store.formats:
        mac = replace(describe_machine(), system="darwin", architecture="arm64")
        monkeypatch.setattr(module, "describe_machine", lambda: mac)
        assert store.formats[:2] == ("mlx", "gguf")


POOLINGS = {"encoder": Pooling.MEAN, "judge": Pooling.RANK}


class OdeFormat(Format):
    """As a plugin may bring it."""

    name = "ode"
    tells_pooling = True
    sets_kv_aside = True

    def read_header(self, name: str, files: Files) -> Header:
        layer = Layer(kv_heads=2, key_length=64, value_length=64)
        header = Header(self.name, "greek", name, "none", 0, 1000, (layer,), 4096, width=64, vocabulary=10)
        return replace(header, pooling=POOLINGS.get(name))


def test_a_plugins_format_says_what_its_models_do_and_how_their_kv_memory_grows(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    formats = Formats(lambda _: [Plugin(GROUP, "ode", f"{__name__}:OdeFormat", "odes 1.0")])
    for module in ("core.models.store", "core.models.formats.read"):
        monkeypatch.setattr(f"{module}.load_formats", lambda: formats)
    path = tmp_path / "some.ode"
    path.touch()
    encoder, judge, decoder = (Artifact(name, "ode", path, 1) for name in ("encoder", "judge", "decoder"))
    assert store.expect_kind(encoder) is ModelKind.EMBEDDING
    assert store.expect_kind(judge) is ModelKind.RERANKING
    assert store.expect_kind(decoder) is ModelKind.CHAT
    assert store.expect_kind(decoder, Profile(pooling=Pooling.LAST)) is ModelKind.EMBEDDING
    aside = store.judge(store.header(decoder)).fit.parts
    monkeypatch.setattr(OdeFormat, "sets_kv_aside", False)
    grown = store.judge(store.header(decoder)).fit.parts
    assert aside.kv > grown.kv == 0
    assert aside.needed == grown.needed


def test_what_a_model_does_is_told_by_a_header_that_was_read_and_by_the_settings_before_it(
    store: Store, tmp_path: Path
) -> None:
    missing = Artifact("missing", "gguf", tmp_path / "missing.gguf", 1)
    header = replace(store.header(GUIDE), pooling=Pooling.RANK)
    assert store.expect_kind(missing) is ModelKind.CHAT
    assert store.expect_kind(missing, header=header) is ModelKind.RERANKING
    assert store.expect_kind(missing, Profile(pooling=Pooling.MEAN), header=header) is ModelKind.EMBEDDING


def test_a_folder_of_sentence_transformers_makes_vectors_whatever_its_format(store: Store, tmp_path: Path) -> None:
    folder = Artifact("minilm", "mlx", tmp_path, 1)
    assert store.expect_kind(folder) is ModelKind.CHAT
    (tmp_path / "modules.json").write_text("[]")
    assert store.expect_kind(folder) is ModelKind.EMBEDDING


def test_built_in_models_are_found_without_a_look_at_the_engines(tmp_path: Path) -> None:
    store = Store(Settings(), folders_in(tmp_path), Engines({"none": "no.such.module:Engine"}), LoadOptions())
    assert store.resolve(store.read_own("guide")) == GUIDE


def test_a_name_of_the_catalog_that_is_not_here_says_how_to_get_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(NotDownloaded, match="tui pull qwen-2.5-1.5b"):
        store.resolve(store.read_own("qwen-2.5-1.5b"))
