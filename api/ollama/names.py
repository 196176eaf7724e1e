"""Models as clients of Ollama name them: `name`, `name:latest`, `family:size`, and ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from core.names import LATEST, Alias, clean_name, drop_latest
from core.serving.served_models import ServedModels

LIBRARIES: Final = ("registry.ollama.ai/library/", "ollama.com/library/", "library/")
"""What may stand before a name of Ollama's own library."""


async def resolve_name(models: ServedModels, asked: str) -> str:
    """The name of the model that is meant, among those that are known and those that a request would load; what was
    asked, without `:latest`, where it is none of them. Raises ModelNotFound for what can be no name."""
    name = clean_name(asked)
    known = [member.name for member in models.members]
    # Clients name models as they are listed, with a tag: those need no look at the disk with each request.
    if found := next((form for form in (name, drop_latest(name)) if form in known), None):
        return found
    there = [*known, *(each.name for each in await models.loadable())]
    folded = {each.casefold(): each for each in reversed(there)}
    forms = [*list_forms(name)]
    if found := next((folded[form.casefold()] for form in forms if form.casefold() in folded), None):
        return found
    # A name of the catalog may be one of a model in the Hub's cache.
    return next((form for form in forms[1:] if isinstance(models.store.read_asked(form), Alias)), drop_latest(name))


def list_forms(name: str) -> Iterator[str]:
    """What a name may be called here, as it stands first."""
    yield name
    bare = drop_latest(name)
    for library in LIBRARIES:
        bare = bare.removeprefix(library)
    yield bare
    family, colon, tag = bare.rpartition(":")
    if colon and "/" not in tag:
        # `qwen3:4b`, and `qwen3:4b-8bit` as the catalog has it.
        size, dash, variant = tag.partition("-")
        yield f"{family}-{tag}"
        if dash:
            yield f"{family}-{size}:{variant}"


def show_name(name: str) -> str:
    """A name as Ollama lists it: always with a tag."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:{LATEST}"
