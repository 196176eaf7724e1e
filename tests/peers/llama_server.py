"""Stands in for llama-server, so that llama.cpp's own tests of its server can be run against this one.

Its command line is mapped to `tui --serve`; models are local ones in place of those that the tests download:
BENCHTOP_TEST_WEIGHTS names their folder. llama.cpp's tests run a program, so LLAMA_SERVER_BIN_PATH names a script of
two lines, REPOSITORY being this one; it stays in the folder that it is run in, where their templates are looked for:

    #!/bin/sh
    PYTHONPATH=REPOSITORY exec REPOSITORY/.venv/bin/python -m tests.peers.llama_server "$@"

    LLAMA_SERVER_BIN_PATH=SCRIPT pytest unit     # in llama.cpp's tools/server/tests

Tests about the words of the small models that they know cannot pass with others.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Final

from core.chat.common_templates import COMMON_TEMPLATES

CHAT: Final = "guide"
MODELS: Final = {
    "test-model-stories260K-infill": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    "test-model-stories260K": CHAT,
    "stories15M_MOE": CHAT,
    "models": "all-minilm-l6-v2",
}
"""By the last part of a repository's name."""
LEAST_BATCH_TOKENS: Final = 32
"""Fewer are not taken."""


def main() -> None:
    given = build_parser().parse_known_args()[0]
    if not given.offline:
        # The tests have their models fetched by starting a server for each once.
        serve_health(given.host, given.port)
    program = str(Path(sys.executable).parent / "tui")
    os.execv(program, [program, *map_arguments(given)])


def build_parser() -> argparse.ArgumentParser:
    """What is mapped; other options stay unread."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--offline", action="store_true")
    for option in ("--hf-repo", "--alias", "--api-key", "--chat-template", "--chat-template-file", "--reasoning"):
        parser.add_argument(option)
    for option in ("--ctx-size", "--parallel", "--seed", "--batch-size"):
        parser.add_argument(option, type=int)
    parser.add_argument("--temp", type=float)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    return parser


def map_arguments(given: argparse.Namespace) -> list[str]:
    """The command line of `tui --serve` that comes nearest to one of llama-server."""
    alias = (given.alias or "model").split(",")[0]
    # One for all runs: what was tried and measured of a model is known to the next server.
    home = Path(tempfile.gettempdir()) / "as-llama-server"
    os.environ["BENCHTOP_HOME"] = str(home)
    config = home / "config" / "config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    sampling = {"temperature": given.temp, "seed": given.seed}
    lines = [f'[models."{alias}"]', f'source = "{find_model(given)}"', "", f'[models."{alias}".sampling]']
    lines += [f"{name} = {value}" for name, value in sampling.items() if value is not None]
    # llama-server tells each template the day, though no client does.
    today = time.strftime("%d %b %Y")
    lines += ["", f'[models."{alias}".chat_template_kwargs]', f'date_string = "{today}"']
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    arguments = [
        "--serve",
        alias,
        "--host",
        given.host,
        "--port",
        str(given.port),
        "--no-benchmark",
        "--max-queue",
        "64",
        "--stand-in",
        alias,
    ]
    slots = given.parallel or 1
    if given.ctx_size:
        arguments += ["--ctx-size", str(given.ctx_size // slots), "--slots", str(slots)]
    for option, value in (
        ("--api-key", given.api_key),
        ("--batch", str(given.batch_size) if (given.batch_size or 0) >= LEAST_BATCH_TOKENS else None),
        # It has models think whose templates take a switch, where nobody says anything.
        ("--reasoning-effort", "none" if given.reasoning == "off" else "medium"),
        ("--chat-template", given.chat_template_file or choose_template(given.chat_template)),
    ):
        if value:
            arguments += [option, value]
    return arguments


def choose_template(given: str | None) -> str | None:
    """A template of the user's, or the name of one that is known here too."""
    return given if given and ("{" in given or given in COMMON_TEMPLATES) else None


def find_model(given: argparse.Namespace) -> str:
    """The local model that stands for the one that a test names."""
    name = MODELS.get(str(given.hf_repo).split("/")[-1].split(":")[0], CHAT)
    return name if name == CHAT else str(Path(os.environ["BENCHTOP_TEST_WEIGHTS"]) / name)


def serve_health(host: str, port: int) -> None:
    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

    HTTPServer((host, port), Healthy).serve_forever()


if __name__ == "__main__":
    main()
