"""Templates under test, whose processes end with the test."""

from collections.abc import Callable, Iterator

import pytest

from core.chat.template import ChatTemplate

Open = Callable[..., ChatTemplate]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Makes chat templates as `ChatTemplate` does."""
    made: list[ChatTemplate] = []

    def open_template(*arguments: object, **keywords: object) -> ChatTemplate:
        made.append(ChatTemplate(*arguments, **keywords))  # type: ignore[arg-type]
        return made[-1]

    yield open_template
    for template in made:
        template.close()
