"""Names tell a stranger what a thing is: a class by a name of its own, a function by a verb, a constant by its unit."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = sorted(path for folder in ("core", "api", "tui", "themes") for path in (ROOT / folder).rglob("*.py"))
# Folders called `documented` imitate foreign libraries, whose names they must have; a plugin is a package of its own.
TESTS = sorted(
    path for path in (ROOT / "tests").rglob("*.py") if not {"documented", "plugins"} & {*path.relative_to(ROOT).parts}
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ONE_WORD = {"main": "what starts a process, as Python has it"}
"""Public functions whose name is a verb alone, and why."""

VERBS = _words("""
    complete divide order place scale
    abbreviate adapt add adopt advance allow answer append apply ask attach be bound build cancel capture check
    choose clean clip close collate collect compare change compute configure convert correct count create cut declare
    decode delete derive describe detect digest discard draw drop dump encode enqueue ensure estimate examine expand
    explain export extend extract fence fetch fill find fingerprint fit flatten fold forget format frame gather get
    give grant group guess hide hold identify ignore import join judge keep label launch leave limit list load lock log
    look lower main make map mark mask match measure mend merge move name normalise normalize open outline pack pair
    parse pass pause pick plan poll pool post prepare print project provide purge put quote raise rank read receive
    refuse register rehearse release remove rename render repeat replay reply report require reset resolve rest restore
    resume retry reuse rotate run save scan seal search see seed select send separate serve set settle shorten show
    sign skip sort split start stop store study submit suggest sum summarize supervise swap sync take tell tokenise
    train transcribe translate trim truncate try unlink unpack unpermute update use verify wait walk watch wrap write
""")
"""First words of public functions. A verb that is missing here is added; a noun is no verb."""
QUESTIONS = frozenset({"is", "are", "has", "can", "may", "must", "needs", "looks", "passes"})
"""First words of those that answer yes or no."""

UNITS = _words("""
    AMPLITUDE AXIS BIAS CONTRAST DESCRIPTOR DISTANCE DIVISOR FACTOR INDEX INTEGER LEVEL LOGPROB MODE MULTIPLIER PER
    SEED SHARE STEP TEMPERATURE TYPE VERSION
""")
"""What a number can be beside a count of things. Things that are counted are a plural: SECONDS, BYTES, TOKENS."""


def _top(paths: list[Path]) -> Iterator[tuple[str, ast.stmt]]:
    """The statements of modules, with the files they stand in."""
    for path in paths:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            yield path.relative_to(ROOT).as_posix(), node


def _classes(paths: list[Path]) -> dict[str, list[str]]:
    """The files in which each class name is defined at the top."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for file, node in _top(paths):
        if isinstance(node, ast.ClassDef):
            found[node.name].append(file)
    return found


def _fault(function: str) -> str:
    """Why this is no name for a public function; empty where it is one."""
    if function in ONE_WORD:
        return ""
    first, _, rest = function.partition("_")
    if first not in VERBS | QUESTIONS:
        return f"{function} begins with no verb"
    return "" if rest else f"{function} names no object"


def _is_number(node: ast.expr | None) -> bool:
    match node:
        case ast.Constant(value=value):
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ast.BinOp(left=left, right=right):
            return _is_number(left) and _is_number(right)
        case ast.UnaryOp(operand=operand):
            return _is_number(operand)
        case ast.Tuple(elts=members):
            return bool(members) and all(map(_is_number, members))
    return False


def _numbers(body: list[ast.stmt]) -> Iterator[tuple[int, str]]:
    """Lines and names of the constants that hold numbers, also of classes; the members of an enumeration are none."""
    for node in body:
        match node:
            case ast.ClassDef(bases=bases, body=inner) if not any("Enum" in ast.unparse(base) for base in bases):
                yield from _numbers(inner)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name.isupper() and _is_number(value):
                yield node.lineno, name
            case ast.AnnAssign(target=ast.Name(id=name), value=value) if name.isupper() and _is_number(value):
                yield node.lineno, name


def _names_unit(constant: str) -> bool:
    words = constant.strip("_").split("_")
    return any(word in UNITS or (word.endswith("S") and len(word) > 3) for word in words)


def test_a_class_name_stands_once_in_the_product() -> None:
    assert {name: files for name, files in _classes(PRODUCT).items() if len(files) > 1} == {}


def test_no_class_of_the_tests_has_the_name_of_one_in_the_product() -> None:
    product = _classes(PRODUCT)
    assert {name: files for name, files in _classes(TESTS).items() if name in product} == {}


def test_a_public_function_is_a_verb_with_its_object() -> None:
    functions = [(file, node.name) for file, node in _top(PRODUCT) if isinstance(node, ast.FunctionDef)]
    functions += [(file, node.name) for file, node in _top(PRODUCT) if isinstance(node, ast.AsyncFunctionDef)]
    faults = [f"{file}: {_fault(name)}" for file, name in functions if not name.startswith("_") and _fault(name)]
    assert faults == []


@pytest.mark.parametrize("name", ["wanted", "status_of", "measured_rate", "choose"])
def test_a_noun_a_participle_or_a_verb_alone_is_no_function_name(name: str) -> None:
    assert _fault(name)


def test_a_constant_that_holds_a_number_names_its_unit() -> None:
    unnamed = [
        f"{path.relative_to(ROOT).as_posix()}:{line} {name}"
        for path in PRODUCT
        for line, name in _numbers(ast.parse(path.read_text(encoding="utf-8")).body)
        if not _names_unit(name)
    ]
    assert unnamed == []


def test_numbers_are_found_in_modules_and_classes_however_they_are_written() -> None:
    source = (
        "A: Final = 5.0\nB = 1 << 20\nclass X:\n    C = -1\nD = (2, 3)\nclass Y(Enum):\n    E = 1\nF = 'f'\nG = True\n"
    )
    found = [name for _, name in _numbers(ast.parse(source).body)]
    assert found == ["A", "B", "C", "D"]
    assert not any(_names_unit(name) for name in (*found, "GLANCE", "PATIENCE", "MOST"))
    assert all(_names_unit(name) for name in ("POLL_SECONDS", "MOST_BYTES", "WASTE_FACTOR"))
