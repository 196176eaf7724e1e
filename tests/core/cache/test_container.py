"""The file of a stored prefix: what comes back is what was put, or nothing."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.cache.container import (
    LENGTH,
    DamagedPrefix,
    PrefixHeader,
    read_state,
    read_stored,
    verify_prefix,
    write_prefix,
)
from core.cache.identity import ModelIdentity, digest_owner
from core.cache.prefix import Tokens

IDENTITY = ModelIdentity("weights", "llamacpp", "1.2", "context 4096, f16")
HEADER = PrefixHeader(IDENTITY, digest_owner("tenant", None), "guide", None)
TOKENS = (1, 2, 70_000, 4)
STATE = bytes(range(256)) * 3

tokens = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=50).map(tuple)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "prefix.safetensors"
    write_prefix(path, HEADER, TOKENS, STATE)
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(tokens, st.binary(max_size=2000), st.sets(st.integers(1, 50)) | st.none(), st.text(max_size=20))
def test_what_is_written_is_read_again(
    tmp_path: Path, tokens: Tokens, state: bytes, marks: set[int] | None, outline: str
) -> None:
    path = tmp_path / "one.safetensors"
    whole = len(tokens)
    cuts = None if marks is None else (*sorted(each for each in marks if each < whole), whole)
    header = PrefixHeader(IDENTITY, "owner", "a model", cuts, outline)
    write_prefix(path, header, tokens, state)
    found = read_stored(path)
    assert (found.header, found.tokens, found.state_bytes) == (header, tokens, len(state))
    assert read_state(path, header, tokens) == state


@pytest.mark.parametrize("cuts", [(), (2,), (4, 2), (2, 2, 4), (0, 4), (4, 5)], ids=str)
def test_a_file_that_would_be_cut_where_it_has_no_tokens_is_damaged(tmp_path: Path, cuts: tuple[int, ...]) -> None:
    path = tmp_path / "one.safetensors"
    write_prefix(path, PrefixHeader(IDENTITY, "owner", "a model", cuts), TOKENS, STATE)
    with pytest.raises(DamagedPrefix, match="cut where it has no tokens"):
        verify_prefix(path)


def test_other_programs_read_it_as_safetensors(file: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    with safetensors.safe_open(file, "np") as opened:
        assert opened.get_tensor("tokens").tolist() == list(TOKENS)
        assert opened.get_tensor("state").tobytes() == STATE
        assert json.loads(opened.metadata()["header"])["model"] == "guide"


def test_no_flipped_bit_goes_unnoticed(file: Path) -> None:
    whole = file.read_bytes()
    for index in range(len(whole)):
        damaged = bytearray(whole)
        damaged[index] ^= 1 << index % 8
        file.write_bytes(damaged)
        with pytest.raises(DamagedPrefix):
            read_state(file, HEADER, TOKENS)


def test_no_cut_goes_unnoticed(file: Path) -> None:
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(DamagedPrefix):
            verify_prefix(file)
    file.write_bytes(whole + b"\0")
    with pytest.raises(DamagedPrefix, match="should have"):
        verify_prefix(file)


@pytest.mark.parametrize(
    "other",
    [
        PrefixHeader(IDENTITY, digest_owner("another", None), "guide", None),
        PrefixHeader(IDENTITY, digest_owner("tenant", "salt"), "guide", None),
        PrefixHeader(ModelIdentity("weights", "llamacpp", "1.3", "context 4096, f16"), HEADER.owner, "guide", None),
    ],
    ids=["tenant", "salt", "version"],
)
def test_a_file_of_another_owner_or_engine_is_not_taken(file: Path, other: PrefixHeader) -> None:
    with pytest.raises(DamagedPrefix, match="another prefix"):
        read_state(file, other, TOKENS)


def test_a_file_of_another_version_is_told_as_that(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"benchtop-prefix-2", b"benchtop-prefix-9"))
    with pytest.raises(DamagedPrefix, match="benchtop-prefix-9"):
        read_stored(file)


@pytest.mark.parametrize("data", [b"", LENGTH.pack(2**63), LENGTH.pack(2) + b"{}", LENGTH.pack(4) + b"[[[["])
def test_what_is_no_container_is_damaged(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(DamagedPrefix):
        read_stored(path)
