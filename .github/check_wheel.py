"""Says what a wheel lacks or should not hold, and fails then.

python .github/check_wheel.py dist/benchtop-*.whl
"""

import sys
import zipfile

WANTED = (
    "core/guide/guide.gguf",
    "core/models/catalog.toml",
    "tui/app.tcss",
    "core/py.typed",
    "api/py.typed",
    "tui/py.typed",
    "themes/py.typed",
)
UNWANTED = ("tests/", "core/guide/training/", "core/guide/convert/executorch.py")
"""Beginnings of paths: what guide was trained with wants torch, and is for a checkout."""


def problems(path: str) -> list[str]:
    """What is wrong with the wheel, in a sentence each."""
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
    lacking = [f"{path} lacks {name}." for name in WANTED if name not in names]
    return lacking + [f"{path} holds {name}." for name in names if name.startswith(UNWANTED)]


if __name__ == "__main__":
    found = [problem for path in sys.argv[1:] for problem in problems(path)]
    sys.stderr.writelines(f"{problem}\n" for problem in found)
    sys.exit(1 if found or len(sys.argv) < 2 else 0)
