"""Short programs that ask a server something, fit for the kind of model: for a shell, in Python and in JavaScript."""

from __future__ import annotations

import json
from typing import Final, assert_never

from msgspec import Struct

from api.curl import DOCUMENTS, KEY_VARIABLE, QUESTION, RECORDING, format_curl
from core.snapshots import ModelKind

NO_KEY: Final = "not-needed"
"""OpenAI's client insists on a key."""


class ServedAt(Struct, frozen=True):
    """Where a model is asked."""

    url: str
    """Of the server, without a path."""
    model: str
    kind: ModelKind = ModelKind.CHAT
    asks_for_key: bool = False
    made_key: str | None = None
    """One that was made for this run; the user's own is taken from the environment."""


class CodeSnippet(Struct, frozen=True):
    """What one may paste."""

    title: str
    text: str


def write_snippets(at: ServedAt) -> tuple[CodeSnippet, ...]:
    """One in each language. Each is ASCII, save a name in Python that is not; `model` may hold anything."""
    curl = format_curl(at.url, at.model, at.kind, asks_for_key=at.asks_for_key, made_key=at.made_key)
    return (
        CodeSnippet("curl", curl),
        CodeSnippet("Python", _write_python(at)),
        CodeSnippet("JavaScript", _write_javascript(at)),
    )


def _write_python(at: ServedAt) -> str:
    """OpenAI's client, where that knows the endpoint."""
    if at.kind is ModelKind.RERANKING:
        return _write_python_ranking(at)
    head = [
        *(["import os", ""] if _wants_own_key(at) else []),
        "from openai import OpenAI",
        "",
        f'client = OpenAI(base_url="{at.url}/v1", api_key={_write_python_key(at) or _quote(NO_KEY)})',
    ]
    model = f"model={_quote(at.model)}"
    match at.kind:
        case ModelKind.CHAT:
            asked = f'[{{"role": "user", "content": {_quote(QUESTION)}}}]'
            body = [
                f"answer = client.chat.completions.create({model}, messages={asked})",
                "print(answer.choices[0].message.content)",
            ]
        case ModelKind.EMBEDDING:
            body = [
                f"answer = client.embeddings.create({model}, input={_quote(QUESTION)})",
                "print(answer.data[0].embedding)",
            ]
        case ModelKind.TRANSCRIPTION:
            body = [
                f'with open("{RECORDING}", "rb") as recording:',
                f"    answer = client.audio.transcriptions.create({model}, file=recording)",
                "print(answer.text)",
            ]
        case _:
            assert_never(at.kind)
    return "\n".join((*head, *body))


def _write_python_ranking(at: ServedAt) -> str:
    key = _write_python_key(at)
    sent = f', "Authorization": "Bearer " + {key}' if key else ""
    documents = ", ".join(map(_quote, DOCUMENTS))
    lines = [
        "import json",
        *(["import os"] if _wants_own_key(at) else []),
        "from urllib.request import Request, urlopen",
        "",
        f'asked = {{"model": {_quote(at.model)}, "query": {_quote(QUESTION)}, "documents": [{documents}]}}',
        f'headers = {{"Content-Type": "application/json"{sent}}}',
        f'request = Request("{at.url}/v1/rerank", json.dumps(asked).encode(), headers)',
        "with urlopen(request) as answer:",
        '    for result in json.load(answer)["results"]:',
        '        print(result["index"], result["relevance_score"])',
    ]
    return "\n".join(lines)


def _wants_own_key(at: ServedAt) -> bool:
    return at.asks_for_key and at.made_key is None


def _write_python_key(at: ServedAt) -> str:
    """Empty for none."""
    if at.made_key is not None:
        return _quote(at.made_key)
    return f'os.environ["{KEY_VARIABLE}"]' if at.asks_for_key else ""


def _quote(text: str) -> str:
    """A literal in ASCII, with double quotes as far as that can be."""
    return json.dumps(text) if text.isascii() and text.isprintable() else ascii(text)


def _write_javascript(at: ServedAt) -> str:
    """What Node.js has from version 18 on, as a module."""
    if at.kind is ModelKind.TRANSCRIPTION:
        return _write_javascript_hearing(at)
    path, asked, shown = _ask_in_javascript(at)
    lines = [
        f"const response = await fetch({json.dumps(f'{at.url}/v1/{path}')}, {{",
        '  method: "POST",',
        f'  headers: {{ "content-type": "application/json"{_write_javascript_key(at, ", ")} }},',
        f"  body: JSON.stringify({json.dumps(asked)}),",
        "});",
        "const answer = await response.json();",
        f"console.log({shown});",
    ]
    return "\n".join(lines)


def _ask_in_javascript(at: ServedAt) -> tuple[str, dict[str, object], str]:
    """Path, body, and what is shown of the answer."""
    match at.kind:
        case ModelKind.CHAT:
            asked: dict[str, object] = {"model": at.model, "messages": [{"role": "user", "content": QUESTION}]}
            return "chat/completions", asked, "answer.choices[0].message.content"
        case ModelKind.EMBEDDING:
            return "embeddings", {"model": at.model, "input": QUESTION}, "answer.data[0].embedding"
        case _:
            return "rerank", {"model": at.model, "query": QUESTION, "documents": list(DOCUMENTS)}, "answer.results"


def _write_javascript_hearing(at: ServedAt) -> str:
    headers = f"\n  headers: {{ {key} }}," if (key := _write_javascript_key(at)) else ""
    lines = [
        'import { readFile } from "node:fs/promises";',
        "",
        "const form = new FormData();",
        f'form.append("file", new Blob([await readFile("{RECORDING}")]), "{RECORDING}");',
        f'form.append("model", {json.dumps(at.model)});',
        f"const response = await fetch({json.dumps(f'{at.url}/v1/audio/transcriptions')}, {{",
        f'  method: "POST",{headers}',
        "  body: form,",
        "});",
        "console.log((await response.json()).text);",
    ]
    return "\n".join(lines)


def _write_javascript_key(at: ServedAt, before: str = "") -> str:
    """A header; empty for none."""
    if at.made_key is not None:
        return f"{before}authorization: {json.dumps(f'Bearer {at.made_key}')}"
    return f"{before}authorization: `Bearer ${{process.env.{KEY_VARIABLE}}}`" if at.asks_for_key else ""
