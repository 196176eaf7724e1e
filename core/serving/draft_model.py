"""How the next tokens of a model are guessed: looked up in its own text, or written by a smaller model."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from enum import Enum

from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.models import Model, PredictsAhead, TokenModel, Trims
from core.contract.options import LoadOptions
from core.decoding.drafting import DraftModel, compare_sizes, compare_vocabularies
from core.decoding.lookup import PromptLookup
from core.decoding.mtp import LookupOrMtp, MtpDraft
from core.decoding.speculate import MTP, NOTHING, PROMPT_LOOKUP, Proposer, tell_why_unguessed
from core.errors import ArtifactError, BenchtopError, LoadFailed, ModelNotFound, NotDownloaded, attach_paths
from core.models.formats.read import read_header
from core.serving.ability import find_kind
from core.serving.loaded import LoadedModel
from core.snapshots import ModelKind

NO_HEADS = "It has no heads that guess ahead (MTP), or none that can be used here; prompt lookup guesses instead."
Find = Callable[[str], Artifact]
"""From a model's name to its files. Raises ModelNotFound; downloads nothing."""
LoadDraft = Callable[[Artifact, LoadOptions], LoadedModel]


class Simple(Enum):
    """Ways of guessing that need no files."""

    NOTHING = NOTHING
    LOOKUP = PROMPT_LOOKUP
    MTP = MTP
    USUAL = "usual"
    """Nobody asked: prompt lookup where it can be had, with the model's own heads where they were loaded, and no word
    where nothing can be guessed."""


Way = Simple | Artifact
"""How to guess; the files are those of a model that drafts."""


def choose_way(artifact: Artifact, wish: str | None, find: Find) -> Way:
    """How a model's settings wish that its tokens are guessed. Raises LoadFailed for a draft model that is not here."""
    if wish is None:
        return Simple.USUAL
    if wish == NOTHING:
        return Simple.NOTHING
    if wish == PROMPT_LOOKUP:
        return Simple.LOOKUP
    if wish == MTP:
        return Simple.MTP
    try:
        draft = find(wish)
    except BenchtopError as error:
        said = f"What is to draft for {artifact.name} is not here: {_why(wish, error)}"
        with attach_paths(*error.paths):
            raise LoadFailed(artifact.name, said) from error
    # A draft model that the settings name for all models is named for itself, too.
    return Simple.NOTHING if draft.path == artifact.path else draft


def _why(wish: str, error: BenchtopError) -> str:
    """Why there is no draft model; of a name that stands for nothing, also that none is needed."""
    if not isinstance(error, ModelNotFound) or isinstance(error, NotDownloaded):
        return str(error)
    if get_close_matches(wish.lower().replace("_", "-").replace(" ", "-"), (PROMPT_LOOKUP,), 1):
        return f"There is no model called {wish!r}; did you mean {PROMPT_LOOKUP}?"
    return f"{error} Or give {PROMPT_LOOKUP}, which needs no model."


def refuse_unlike(artifact: Artifact, chosen: Way) -> None:
    """Raises LoadFailed where the headers alone tell that the vocabularies differ: loading a large model takes long."""
    if not isinstance(chosen, Artifact):
        return
    try:
        large, draft = (read_header(each).vocabulary for each in (artifact, chosen))
    except ArtifactError:
        return
    if large and draft and (difference := compare_sizes(draft, large)):
        raise _unfit(chosen.name, artifact.name, difference)


def add_draft(loaded: LoadedModel, model: str, chosen: Way, load: LoadDraft) -> LoadedModel:
    """The loaded model with its proposer; frees the model where the proposer cannot be made.

    Raises LoadFailed for a draft model of another vocabulary, and what loading it raises.
    """
    if chosen is Simple.NOTHING or find_kind(loaded.model) is not ModelKind.CHAT:
        return loaded
    if why := tell_why_unguessed(loaded.model):
        if chosen is Simple.USUAL:
            return loaded
        note = f"Nothing is guessed ahead for it with {loaded.engine}: {why}."
        return replace(loaded, notes=(*loaded.notes, note))
    if isinstance(chosen, Simple):
        proposer, notes = _simple_proposer(loaded.model, chosen)
        return replace(loaded, notes=(*loaded.notes, *notes), proposer=proposer)
    try:
        drafting = load(chosen, _options(loaded.model))
    except BaseException:
        loaded.shutdown()
        raise
    try:
        drafter = _proposer(drafting.model, chosen.name, loaded.model, model)
    except BaseException:
        drafting.shutdown()
        loaded.shutdown()
        raise
    buffers = drafting.model.spec.buffers
    return replace(loaded, notes=(*loaded.notes, *drafting.notes), proposer=drafter, draft_buffers=buffers)


def _simple_proposer(model: Model, chosen: Simple) -> tuple[Proposer, tuple[str, ...]]:
    """What guesses without further files, and what should be known of it."""
    if not isinstance(model, PredictsAhead):
        return PromptLookup(), (NO_HEADS,) if chosen is Simple.MTP else ()
    if chosen is Simple.MTP:
        return MtpDraft(model), ()
    return (LookupOrMtp(MtpDraft(model)) if chosen is Simple.USUAL else PromptLookup()), ()


def _options(model: Model) -> LoadOptions:
    """As many slots and as much context as the model has: a draft model follows every running sequence to its end."""
    return LoadOptions(ctx_size=model.spec.context, slots=model.spec.slots)


def _proposer(draft: Model, name: str, large: Model, model: str) -> DraftModel:
    if not isinstance(draft, TokenModel) or not isinstance(draft, Trims):
        raise LoadFailed(model, f"{name} cannot draft for {model}: it must be a model that decodes step by step.")
    assert isinstance(large, TokenModel)
    difference = compare_vocabularies(draft.tokenizer, large.tokenizer)
    if difference is not None:
        raise _unfit(name, model, difference)
    return DraftModel(name, draft, large.tokenizer.size)


def _unfit(draft: str, model: str, difference: str) -> LoadFailed:
    return LoadFailed(
        model,
        f"{draft} cannot draft for {model}: {difference}. Choose a smaller model of the same family, "
        f"or {PROMPT_LOOKUP}.",
    )
