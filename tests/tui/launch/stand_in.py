"""A program in the place of `llm`: it reads the same files, asks the model, and says what it was given."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from tests.fakes.processes import isolate

EXIT_CODE: Final = 3
PROGRAM: Final = """#!{python}
import json, os, pathlib, signal, sys, time, urllib.request
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
told = pathlib.Path(os.environ["LLM_USER_PATH"])
model = json.loads((told / "extra-openai-models.yaml").read_text())[0]
key = json.loads((told / "keys.json").read_text())["benchtop"]
body = {{"model": model["model_name"], "messages": [{{"role": "user", "content": "It works."}}]}}
asked = urllib.request.Request(
    model["api_base"] + "/chat/completions",
    json.dumps(body).encode(),
    {{"content-type": "application/json", "authorization": "Bearer " + key}},
)
said = json.load(urllib.request.urlopen(asked))["choices"][0]["message"]["content"]
print(json.dumps({{"said": said, "tty": sys.stdin.isatty(), "words": sys.argv[1:], "folder": str(told)}}), flush=True)
if "wait" in sys.argv:
    time.sleep(60)
if "die" in sys.argv:
    os.kill(os.getpid(), signal.SIGKILL)
if sys.stdin.isatty():
    sys.stdin.readline()
sys.exit(3)
"""


def install_program(place: Path) -> None:
    """Make a home in `place`, and a folder `bin` with the program."""
    program = place / "bin" / "llm"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable), encoding="utf-8")
    program.chmod(0o755)
    (place / "home").mkdir()


def build_environment(place: Path) -> dict[str, str]:
    """In which the program is found, and nothing of this machine's user."""
    path = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return isolate(place / "benchtop", HF_HUB_OFFLINE="1", HOME=str(place / "home"), PATH=path, COLUMNS="200")
