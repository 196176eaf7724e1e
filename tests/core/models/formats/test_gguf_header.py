"""GGUF headers: read by parts, and refused in one sentence when they are damaged or hostile."""

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.contract.artifact import Artifact
from core.contract.options import KvType
from core.errors import ArtifactError
from core.guide import WEIGHTS
from core.models.formats.gguf_header import read_gguf
from core.models.formats.read import read_header
from core.models.formats.source import FIRST_BYTES, Damaged, FileSource
from tests.fakes import headers as made

GUIDE = WEIGHTS.read_bytes()
GUIDE_HEADER = GUIDE[: gguf.GGUFReader(WEIGHTS).data_offset]


class Bytes:
    """A source in memory that counts what is asked of it; with `size`, the rest of a file that is not there."""

    def __init__(self, data: bytes, size: int | None = None) -> None:
        self.data = data
        self.size = len(data) if size is None else size
        self.asked: list[tuple[int, int]] = []

    def read(self, start: int, length: int) -> bytes:
        self.asked.append((start, length))
        return self.data[start : start + length]


def artifact(path: Path) -> Artifact:
    return Artifact(path.stem, "gguf", path, path.stat().st_size)


def test_the_built_in_model_is_described() -> None:
    header = read_header(artifact(WEIGHTS))
    assert (header.architecture, header.quantization, header.template) == ("llama", "F16", True)
    assert (header.trained_context, header.vocabulary, len(header.layers)) == (2048, 2048, 4)
    assert header.kv_bytes_per_token(KvType.F16) == 2048
    assert header.parameters == sum(int(tensor.n_elements) for tensor in gguf.GGUFReader(WEIGHTS).tensors)
    assert header.weight_bytes == sum(int(tensor.n_bytes) for tensor in gguf.GGUFReader(WEIGHTS).tensors)


def test_everything_is_read_as_the_gguf_package_reads_it() -> None:
    ours, theirs = read_gguf(FileSource(WEIGHTS)), gguf.GGUFReader(WEIGHTS)
    assert [(t.name, t.elements, t.bytes, t.type) for t in ours.tensors] == [
        (t.name, int(t.n_elements), int(t.n_bytes), t.tensor_type.name) for t in theirs.tensors
    ]
    for name, field in theirs.fields.items():
        if name in ours.pairs and field.types[0] is not gguf.GGUFValueType.ARRAY:
            assert ours.pairs[name] == field.contents()
        elif name in ours.lengths:
            assert ours.lengths[name] == len(field.contents())


def test_a_long_vocabulary_is_passed_over_in_growing_pieces() -> None:
    data = made.gguf_bytes(pairs={"tokenizer.ggml.tokens": [f"word {number:>40}" for number in range(100_000)]})
    source = Bytes(data, size=5_000_000_000)
    assert read_gguf(source).lengths["tokenizer.ggml.tokens"] == 100_000
    assert source.asked[0] == (0, FIRST_BYTES)
    assert len(source.asked) <= 4
    assert sum(length for _, length in source.asked) < 4 * len(data)


def test_long_arrays_of_numbers_are_not_fetched_at_all() -> None:
    data = made.gguf_bytes(pairs={"tokenizer.ggml.scores": [0.0] * 2_000_000, "general.name": "after"})
    source = Bytes(data)
    assert read_gguf(source).pairs["general.name"] == "after"
    assert sum(length for _, length in source.asked) <= 4 * FIRST_BYTES < len(data)


def test_short_arrays_of_numbers_are_kept() -> None:
    assert read_gguf(Bytes(made.gguf_bytes(pairs={"a": [1, 0, 3]}))).pairs["a"] == (1, 0, 3)


HOSTILE = {
    "no gguf": lambda: b"GGML" + b"\0" * 60,
    "an unknown version": lambda: b"GGUF" + struct.pack("<IQQ", 99, 0, 0),
    "too many tensors": lambda: b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0) + b"\0" * 64,
    "too many values": lambda: b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60) + b"\0" * 64,
    "more values than bytes": lambda: b"GGUF" + struct.pack("<IQQ", 3, 0, 60_000) + b"\0" * 64,
    "a key of a terabyte": lambda: made.raw(struct.pack("<Q", 1 << 40)),
    "a negative length": lambda: made.raw(struct.pack("<q", -1)),
    "a text of a gigabyte": lambda: made.raw(made.text("k") + struct.pack("<IQ", 8, 1 << 30)),
    "an unknown kind of value": lambda: made.raw(made.text("k") + struct.pack("<I", 77)),
    "an array of arrays": lambda: made.raw(made.text("k") + struct.pack("<IIQ", 9, 9, 1)),
    "an array of unknown things": lambda: made.raw(made.text("k") + struct.pack("<IIQ", 9, 77, 1)),
    "an array without end": lambda: made.raw(made.text("k") + struct.pack("<IIQ", 9, 8, 1 << 62)),
    "an array longer than the file": lambda: made.raw(made.text("k") + struct.pack("<IIQ", 9, 4, 4_000_000)),
    "a tensor of many dimensions": lambda: made.raw(tensors=made.text("t") + struct.pack("<I", 1 << 30)),
    "a tensor of negative width": lambda: made.raw(tensors=made.text("t") + struct.pack("<IqIQ", 1, -5, 0, 0)),
    "a tensor of unknown type": lambda: made.raw(tensors=made.text("t") + struct.pack("<IQIQ", 1, 5, 999, 0)),
    "a tensor beyond the end": lambda: made.raw(tensors=made.text("t") + struct.pack("<IQIQ", 1, 1 << 39, 0, 0)),
    "a tensor at the end of the world": lambda: made.raw(
        tensors=made.text("t") + struct.pack("<IQIQ", 1, 4, 0, (1 << 64) - 1)
    ),
    "absurd alignment": lambda: made.gguf_bytes(pairs={"general.alignment": 0}),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_header_is_refused_in_a_sentence(make: Callable[[], bytes], tmp_path: Path) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(make())
    with pytest.raises(ArtifactError, match=r"The header of hostile cannot be read: .+; download it again\."):
        read_header(artifact(path))


ABSURD = {
    "layers without end": {"llama.block_count": 1 << 31},
    "more layers than any model": {"llama.block_count": 100_000},
    "heads without end": {"llama.block_count": 2, "llama.attention.head_count": (1 << 32) - 1},
}


@pytest.mark.parametrize("pairs", ABSURD.values(), ids=ABSURD.keys())
def test_absurd_facts_are_refused_in_a_sentence(pairs: dict[str, int], tmp_path: Path) -> None:
    path = tmp_path / "absurd.gguf"
    path.write_bytes(made.gguf_bytes(pairs={"general.architecture": "llama", **pairs}))
    with pytest.raises(ArtifactError, match="claims"):
        read_header(artifact(path))


def test_a_length_that_is_no_number_is_no_length(tmp_path: Path) -> None:
    path = tmp_path / "odd.gguf"
    pairs: dict[str, str | int | list[int] | list[float]] = {
        "general.architecture": "nemotron_h",
        "nemotron_h.block_count": 2,
        "nemotron_h.attention.head_count_kv": [0, 0],
        "nemotron_h.feed_forward_length": [float("nan"), float("inf")],
    }
    path.write_bytes(made.gguf_bytes(pairs=pairs))
    assert len(read_header(artifact(path)).layers) == 2


def test_a_header_that_never_ends_is_given_up() -> None:
    class Endless:
        size = 1 << 40

        def read(self, start: int, length: int) -> bytes:
            head = made.raw(made.text("k") + struct.pack("<IIQ", 9, 8, 4_000_000)) if start == 0 else b""
            return (head + (struct.pack("<Q", 24) + b"x" * 24) * (length // 32 + 1))[:length]

    with pytest.raises(Damaged, match="longer than 64.0 MB"):
        read_gguf(Endless())


@given(st.integers(0, len(GUIDE_HEADER) - 1))
@settings(max_examples=60, deadline=None)
def test_a_header_cut_anywhere_is_damaged(length: int) -> None:
    with pytest.raises(Damaged):
        read_gguf(Bytes(GUIDE_HEADER[:length]))


def test_a_file_cut_within_its_weights_is_damaged() -> None:
    with pytest.raises(Damaged, match="before its weights"):
        read_gguf(Bytes(GUIDE[:-1000]))


@given(st.binary(max_size=4000))
@settings(max_examples=200, deadline=None)
@example(b"\xff" * 200)
def test_garbage_behind_the_magic_is_read_or_damaged(garbage: bytes) -> None:
    try:
        read_gguf(Bytes(b"GGUF\x03\0\0\0" + garbage))
    except Damaged as error:
        assert str(error)  # noqa: PT017


@given(st.lists(st.tuples(st.integers(8, 3000), st.integers(0, 255)), max_size=20))
@settings(max_examples=200, deadline=None)
def test_a_header_with_wrong_bytes_is_read_or_damaged(changes: list[tuple[int, int]]) -> None:
    data = bytearray(GUIDE_HEADER)
    for offset, value in changes:
        data[offset % len(data)] = value
    try:
        read_gguf(Bytes(bytes(data), size=len(GUIDE)))
    except Damaged as error:
        assert str(error)  # noqa: PT017


def test_parts_of_a_split_file_count_together(tmp_path: Path) -> None:
    first = made.gguf_bytes(
        pairs={"general.architecture": "llama", "llama.block_count": 2, "split.count": 3},
        tensors={"a.weight": (64, 64)},
    )
    for number, data in enumerate((first, b"GGUF" + b"\0" * 9996, b"GGUF" + b"\0" * 4996), 1):
        (tmp_path / f"big-{number:05}-of-00003.gguf").write_bytes(data)
    header = read_header(artifact(tmp_path / "big-00001-of-00003.gguf"))
    length = read_gguf(Bytes(first)).length
    assert header.weight_bytes == len(first) - length + 15_000
    assert any("3 files" in note for note in header.notes)


def test_a_split_file_beside_one_whose_name_begins_the_same_is_told_from_it(tmp_path: Path) -> None:
    pairs: dict[str, str | int] = {"general.architecture": "llama", "llama.block_count": 2}
    first = made.gguf_bytes(pairs=pairs, tensors={"a.weight": (64, 64)})
    for stem in ("M-Q6_K", "M-Q6_K_L", "M-Q6_K-00001-of-00002"):
        for number in (1, 2):
            (tmp_path / f"{stem}-{number:05}-of-00002.gguf").write_bytes(first)
    header = read_header(artifact(tmp_path / "M-Q6_K-00001-of-00002.gguf"))
    assert any("its 2 files" in note for note in header.notes)


def test_a_split_file_without_one_of_its_parts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "big-00001-of-00003.gguf"
    path.write_bytes(made.gguf_bytes(pairs={"general.architecture": "llama"}))
    with pytest.raises(ArtifactError, match="split into 3 files, of which 1 are there"):
        read_header(artifact(path))
