"""Fields of Ollama's API that nothing here reads; see `api.http.field_rules`.

They were gathered from its reference and its types, older ones included, and from its clients.
"""

from __future__ import annotations

from typing import Final

from api.http.field_rules import Rules, allow_only, drop_field

IMAGES: Final = allow_only([], instead="no model here sees pictures")

ANSWER: Final[Rules] = {
    # A full context ends an answer here.
    "shift": drop_field(False),
    "_debug_render_only": allow_only(False, instead="POST /apply-template tells what a prompt is"),
}
CHAT: Final[Rules] = {**ANSWER, "name": drop_field("")}
GENERATE: Final[Rules] = {
    **ANSWER,
    "images": IMAGES,
    "template": allow_only(
        "", instead="send a whole prompt with `raw`, or give the model a chat_template in the settings"
    ),
    "width": drop_field(0),
    "height": drop_field(0),
    "steps": drop_field(0),
}
MESSAGE: Final[Rules] = {"images": IMAGES, "name": drop_field("")}
CALL: Final[Rules] = {"type": drop_field("function"), "index": drop_field(0)}
FUNCTION: Final[Rules] = {"index": drop_field(), "description": drop_field("")}

OPTIONS: Final[Rules] = {
    # How a model is loaded is for the server's settings, and changes no answer.
    **{
        name: drop_field()
        for name in (
            *("num_keep", "num_batch", "num_gpu", "main_gpu", "num_thread", "use_mmap", "use_mlock", "numa"),
            *("low_vram", "f16_kv", "logits_all", "vocab_only", "num_gqa", "embedding_only", "draft_num_predict"),
        )
    },
    # Parts of samplers that are off
    "mirostat_tau": drop_field(),
    "mirostat_eta": drop_field(),
    "penalize_newline": drop_field(),
    "mirostat": allow_only(0),
    "tfs_z": allow_only(1, 0),
    "rope_frequency_base": allow_only(0),
    "rope_frequency_scale": allow_only(0, 1),
}
EMBED: Final[Rules] = {"options": drop_field({})}
SHOW: Final[Rules] = {
    **{name: allow_only("", instead="nothing is kept of what `show` is told") for name in ("system", "template")},
    "options": drop_field({}),
}
PULL: Final[Rules] = {name: drop_field(False, "") for name in ("insecure", "username", "password")}
