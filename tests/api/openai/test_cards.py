"""A model's card tells what its user should know, and no folder of this machine."""

from pathlib import Path

from api.openai.models import build_cards
from core.chat.template import ABSENT
from core.snapshots import MachineSnapshot, ModelSnapshot, ModelState, Snapshot


def test_a_card_tells_the_notes_about_how_the_model_was_loaded() -> None:
    notes = (ABSENT, "The adapter /srv/My Models/a.gguf is added.")
    model = ModelSnapshot("m", "llamacpp", ModelState.READY, notes=notes)
    snapshot = Snapshot(100.0, 1.0, (model,), MachineSnapshot(0.0, 1, 1, 1))
    (card,) = build_cards(snapshot, (Path("/srv/My Models/a.gguf"),))
    assert card.notes == [ABSENT, "The adapter a.gguf is added."]
