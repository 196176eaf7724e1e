"""The curl line that is shown once a model is served."""

import json
import shlex
import sys

import pytest

from api.curl import DOCUMENTS, KEY_VARIABLE, QUESTION, format_curl
from core.snapshots import ModelKind

URL = "http://127.0.0.1:8080"
NAMES = ["guide", "it's", '"quoted" $HOME `id`', "@file", "<file;type=x", "a\\b", "ünï", "two words"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the quoting of POSIX shells")


def body(line: str) -> object:
    words = shlex.split(line)
    return json.loads(words[words.index("-d") + 1])


@pytest.mark.parametrize("name", NAMES)
def test_each_kind_of_model_is_asked_what_it_answers(name: str) -> None:
    assert body(format_curl(URL, name)) == {"model": name, "messages": [{"role": "user", "content": QUESTION}]}
    embedding = format_curl(URL, name, ModelKind.EMBEDDING)
    assert shlex.split(embedding)[1] == f"{URL}/v1/embeddings"
    assert body(embedding) == {"model": name, "input": QUESTION}
    ranking = format_curl(URL, name, ModelKind.RERANKING)
    assert shlex.split(ranking)[1] == f"{URL}/v1/rerank"
    assert body(ranking) == {"model": name, "query": QUESTION, "documents": list(DOCUMENTS)}
    heard = shlex.split(format_curl(URL, name, ModelKind.TRANSCRIPTION))
    assert heard == [
        *("curl", f"{URL}/v1/audio/transcriptions", "-F", "file=@speech.wav", "--form-string", f"model={name}")
    ]


def test_a_name_that_drives_terminals_is_escaped_or_left_out() -> None:
    name = "a\x1b]0;owned\x07\u202e\udcff"
    for kind in ModelKind:
        assert format_curl(URL, name, kind).isprintable()
    assert body(format_curl(URL, name)) == {"model": name, "messages": [{"role": "user", "content": QUESTION}]}


@pytest.mark.parametrize("kind", list(ModelKind))
def test_a_key_of_the_users_own_is_taken_from_the_environment_and_one_for_this_run_is_shown(kind: ModelKind) -> None:
    own = format_curl(URL, "guide", kind, asks_for_key=True)
    assert f'-H "Authorization: Bearer ${KEY_VARIABLE}"' in own
    assert "Authorization: Bearer for-this-run" in format_curl(URL, "guide", kind, made_key="for-this-run")
    assert "Authorization" not in format_curl(URL, "guide", kind)
