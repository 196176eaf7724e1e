"""One process that tries forms, for all tests of masks."""

from collections.abc import Callable, Iterator

import pytest

from core.decoding.masks.compiler import MaskCompiler
from core.decoding.masks.token_mask import TokenMask
from core.decoding.masks.trials import FormTrials
from core.engines.echo import EchoTokenizer
from core.requests import Constraint, MaskForm

Compile = Callable[[MaskForm], TokenMask]


@pytest.fixture(scope="package")
def trials() -> Iterator[FormTrials]:
    made = FormTrials()
    yield made
    made.close()


@pytest.fixture(scope="package")
def compiled(trials: FormTrials) -> Compile:
    """From a form to a mask over bytes, which are the tokens of the echo engine."""
    compiler = MaskCompiler(EchoTokenizer(), trials)
    return lambda form: compiler.compile(Constraint(form, "response_format"))
