import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

from core.engines.hf_tokenizer import JsonTokenizer
from core.errors import ArtifactError
from tests.fakes.weights import onnx_folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in model, whose vocabulary is byte-level."""
    return onnx_folder(tmp_path_factory.mktemp("onnx"))


@pytest.fixture
def sentencepiece(tmp_path: Path) -> Path:
    """As Llama 2 and Gemma have it: spaces as U+2581, bytes as <0xHH>, a beginning token."""
    pieces = ["<s>", "</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a"]
    made = Tokenizer(
        models.BPE(
            {piece: place for place, piece in enumerate(pieces)}, [("▁", "a")], unk_token="<unk>", byte_fallback=True
        )
    )
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in ("<s>", "</s>", "<unk>")])
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    return path


def test_spaces_and_bytes_come_back(sentencepiece: Path) -> None:
    tokenizer = JsonTokenizer("m", sentencepiece)
    for text in ("a a b", "é🙂", " a"):
        tokens = tokenizer.encode(text, special=False)
        assert b"".join(tokenizer.piece(token) for token in tokens).decode() == text


def test_the_beginning_comes_once_and_the_end_not_at_all(sentencepiece: Path) -> None:
    tokenizer = JsonTokenizer("m", sentencepiece)
    plain = tokenizer.encode("ab", special=True)
    assert tokenizer.encode("ab", special=True, begin=True) == [0, *plain]
    assert tokenizer.encode("<s>ab", special=True, begin=True) == [0, *plain]
    assert tokenizer.begins


def test_what_is_around_a_text_stays_when_it_is_cut(sentencepiece: Path) -> None:
    tokenizer = JsonTokenizer("m", sentencepiece)
    whole = tokenizer.framed("a b a b")
    begin, *inner, end = whole
    assert (tokenizer.text(begin), tokenizer.text(end)) == ("<s>", "</s>")
    assert tokenizer.framed("a b a b", len(whole)) == whole
    assert tokenizer.framed("a b a b", 4) == [begin, *inner[:2], end]
    assert len(tokenizer.framed("a b a b", 1)) == 1


def test_ends_are_known_by_number_and_by_name(sentencepiece: Path) -> None:
    tokenizer = JsonTokenizer("m", sentencepiece, ends=[5])
    assert tokenizer.is_end(1)
    assert tokenizer.is_end(5)
    assert tokenizer.piece(5) == b""
    assert not tokenizer.is_end(0)


def test_control_tokens_in_a_message_are_text(sentencepiece: Path) -> None:
    tokenizer = JsonTokenizer("m", sentencepiece)
    tokens = tokenizer.encode("</s>", special=False)
    assert 1 not in tokens
    assert b"".join(tokenizer.piece(token) for token in tokens) == b"</s>"
    assert tokenizer.encode("</s>", special=True) == [1]


def test_a_token_beyond_the_vocabulary_has_no_text(sentencepiece: Path) -> None:
    tokenizer = JsonTokenizer("m", sentencepiece)
    assert tokenizer.piece(tokenizer.size + 5) == b""
    assert tokenizer.piece(-1) == b""
    assert tokenizer.text(None) == ""


def test_a_lone_surrogate_is_replaced(written: Path) -> None:
    tokenizer = JsonTokenizer("m", written / "tokenizer.json")
    assert tokenizer.encode("a\ud800b", special=False) == tokenizer.encode("a?b", special=False)


def test_a_character_may_be_split_over_tokens(written: Path) -> None:
    tokenizer = JsonTokenizer("m", written / "tokenizer.json")
    tokens = tokenizer.encode("日", special=False)
    assert len(tokens) > 1
    assert b"".join(tokenizer.piece(token) for token in tokens) == "日".encode()


def test_tokens_added_without_being_special_keep_their_text(written: Path, tmp_path: Path) -> None:
    layout = json.loads((written / "tokenizer.json").read_text())
    layout["added_tokens"][0]["special"] = False
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(layout))
    tokenizer = JsonTokenizer("m", path)
    text = layout["added_tokens"][0]["content"]
    assert text not in tokenizer.controls
    assert tokenizer.piece(layout["added_tokens"][0]["id"]) == text.encode()


def test_a_tokenizer_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": {"type": "Telepathy"}}')
    with pytest.raises(ArtifactError, match=r"tokenizer\.json"):
        JsonTokenizer("m", path)
