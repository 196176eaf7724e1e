"""What environment variables say, as shells, compose files and env files make them."""

import pytest

from core.environment import clean_value, forget_empty


@pytest.mark.parametrize("text", ["", " ", "\r\n", '""', "''", '" "'])
def test_what_is_empty_says_nothing(text: str) -> None:
    assert clean_value(text) is None


@pytest.mark.parametrize("text", ["8080", " 8080 ", "8080\r", '"8080"', "'8080'", '"8080"\r\n'])
def test_blanks_line_ends_and_quotes_around_a_value_are_none_of_it(text: str) -> None:
    assert clean_value(text) == "8080"


def test_quotes_inside_a_value_stay() -> None:
    assert [clean_value(text) for text in ("it's", '"a', '"', 'a"b"')] == ["it's", '"a', '"', 'a"b"']


def test_empty_variables_of_the_product_and_its_libraries_are_taken_out() -> None:
    names = ("BENCHTOP_SERVER_HOST", "HF_ENDPOINT", "HF_HUB_DOWNLOAD_TIMEOUT", "XDG_CACHE_HOME", "TEXTUAL_FPS", "HOME")
    environment = {**dict.fromkeys(names, " "), "http_proxy": "", "NO_COLOR": "", "OTHER": "", "HF_HOME": "/models"}
    forget_empty(environment)
    assert environment == {"OTHER": "", "HF_HOME": "/models"}
