"""Tools that Anthropic's API names by a type alone, though the client runs them; its models know them by heart.

Other models are told of them as of any tool. Descriptions and arguments are those of Anthropic's reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from api.http.field_rules import Json
from core.requests import Tool

TEXT: Final[Json] = {"type": "string"}
WHOLE: Final[Json] = {"type": "integer"}
PATH: Final[Json] = {"type": "string", "description": "Path of a file or folder."}
RANGE: Final[Json] = {
    "type": "array",
    "items": WHOLE,
    "minItems": 2,
    "maxItems": 2,
    "description": "First and last line to be shown by `view`, counted from 1; -1 is the file's end.",
}


def _write_schema(properties: Mapping[str, Json], required: Sequence[str] = ()) -> str:
    schema = {"type": "object", "properties": properties, "required": required}
    return msgspec.json.encode(schema).decode()


def _choose_command(*commands: Json) -> Json:
    return {"type": "string", "enum": [*commands]}


KNOWN: Final[Mapping[str, Tool]] = {
    "bash": Tool(
        "bash",
        "Runs a command in a bash session that stays open between calls.",
        _write_schema(
            {
                "command": {"type": "string", "description": "The command to be run; needed unless `restart` is set."},
                "restart": {"type": "boolean", "description": "Begin a new session."},
            }
        ),
    ),
    "text_editor": Tool(
        "str_replace_based_edit_tool",
        "Views, creates and edits text files. `view` shows a file or lists a folder; `create` writes `file_text`; "
        "`str_replace` puts `new_str` in place of the one occurrence of `old_str`; `insert` puts `insert_text` behind "
        "the line `insert_line`.",
        _write_schema(
            {
                "command": _choose_command("view", "create", "str_replace", "insert"),
                "path": PATH,
                "view_range": RANGE,
                "file_text": TEXT,
                "old_str": TEXT,
                "new_str": TEXT,
                "insert_line": WHOLE,
                "insert_text": TEXT,
            },
            ("command", "path"),
        ),
    ),
    "memory": Tool(
        "memory",
        "Keeps notes in files below /memories, which outlast the conversation. Look there before you begin. `view` "
        "shows a file or lists a folder; `create` writes `file_text`; `str_replace` puts `new_str` in place of "
        "`old_str`; `insert` puts `insert_text` behind the line `insert_line`; `delete` and `rename` do what they say.",
        _write_schema(
            {
                "command": _choose_command("view", "create", "str_replace", "insert", "delete", "rename"),
                "path": PATH,
                "view_range": RANGE,
                "file_text": TEXT,
                "old_str": TEXT,
                "new_str": TEXT,
                "insert_line": WHOLE,
                "insert_text": TEXT,
                "old_path": TEXT,
                "new_path": TEXT,
            },
            ("command",),
        ),
    ),
}
"""By their types without the date."""


def find_known_tool(kind: str) -> Tool | None:
    """What a tool of this type is, as `bash_20250124`; None for one that the client does not run, or that needs to
    show the model pictures."""
    return KNOWN.get(kind.rpartition("_")[0])
