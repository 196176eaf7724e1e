"""How much text an embedder or reranker takes at once, and what that takes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions, Pooling
from core.models.fit.placing import estimate_parts
from core.models.fit.pooled import FEWEST_TOKENS, choose_pooled_sizes, count_logit_bytes
from core.models.fit.setup import choose_setup
from core.models.formats.header import Header, Layer
from core.models.formats.read import read_header
from tests.fakes.real_weights import MINILM_GGUF, real_weights

GIB = 1 << 30
BERT = Header(
    *("gguf", "bert", "tiny", "F16", 22_000_000, 45_000_000, (Layer(),) * 6, 512),
    width=384,
    hidden=1536,
    heads=12,
    vocabulary=30_522,
    pooling=Pooling.MEAN,
)


@given(
    st.none() | st.integers(16, 100_000),
    st.integers(0, 40_000),
    st.integers(100, 300_000),
    st.integers(0, 64 * GIB),
)
def test_no_text_is_longer_than_the_positions_nor_its_logits_than_their_share(
    asked: int | None, trained: int, vocabulary: int, available: int
) -> None:
    sizes = choose_pooled_sizes(LoadOptions(ctx_size=asked), trained, vocabulary, available)
    assert 0 < sizes.context <= (trained or FEWEST_TOKENS)
    assert sizes.longest >= max(sizes.context, sizes.batch)
    if asked is None and sizes.context > FEWEST_TOKENS:
        assert count_logit_bytes(vocabulary, sizes.context) <= available / 8
    if asked is not None and asked <= trained:
        assert sizes.context == asked
        assert sizes.notes == ()


def test_an_encoder_has_no_kv_cache_and_logits_for_each_token_of_a_pass() -> None:
    setup = choose_setup(BERT, LoadOptions(), 8 * GIB, ())
    parts = estimate_parts(BERT, setup)
    assert (setup.pooled, setup.context, parts.kv) == (True, 512, 0)
    assert parts.output == 4 * BERT.vocabulary * setup.batch
    # The longest text has more tokens than a pass over several, and that much more to compute with.
    assert parts.filling > 0


def test_a_decoder_that_is_to_make_vectors_keeps_a_pass_in_its_kv_cache() -> None:
    layer = Layer(kv_heads=4, key_length=32, value_length=32)
    decoder = replace(BERT, architecture="qwen3", layers=(layer,) * 6, pooling=None, trained_context=4096)
    setup = choose_setup(decoder, LoadOptions(pooling=Pooling.LAST, ctx_size=1024), 8 * GIB, ())
    assert setup.pooled
    assert estimate_parts(decoder, setup).kv == 6 * 4 * 64 * 2 * 1024
    assert not choose_setup(decoder, LoadOptions(), 8 * GIB, ()).pooled


MEASURED = """
import sys
from pathlib import Path
from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.hardware import measure_resident
from core.engines.llamacpp.engine import LlamaCppEngine
path = Path(sys.argv[1])
artifact, options = Artifact("minilm", "gguf", path, path.stat().st_size), LoadOptions(
    threads=1, batch_threads=1, extra_buffers=False
)
LlamaCppEngine().load(artifact, options).shutdown()
before = measure_resident()
model = LlamaCppEngine().load(artifact, options)
model.embed([[101, *range(2000, 2000 + model.spec.batch - 2), 102]])
print(measure_resident() - before)
"""
"""In a process of its own: one that has done much else has memory left to load a model into."""


@pytest.mark.skipif(sys.platform != "linux", reason="what is resident is told otherwise elsewhere")
def test_minilm_takes_about_what_was_estimated() -> None:
    path = real_weights(MINILM_GGUF)
    header = read_header(Artifact("minilm", "gguf", path, path.stat().st_size))
    assert header.pooling is Pooling.MEAN
    options = LoadOptions(threads=1, batch_threads=1, extra_buffers=False)
    parts = estimate_parts(header, choose_setup(header, options, 8 * GIB, ()))
    child = subprocess.run([sys.executable, "-c", MEASURED, str(path)], capture_output=True, text=True, check=True)
    assert 0.5 * parts.loaded < int(child.stdout) < 1.5 * parts.loaded
