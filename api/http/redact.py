"""Sentences as clients may read them, who may be strangers: files go by their names, without the folders they lie in.

This is done to the finished sentence, at the edge, and not by each error that names a file: half of the paths stand in
words of native libraries and of the system, which an error only quotes, so that a rule for those who raise errors would
be broken by the next of them. Code that knows which files a sentence is about says so with `core.errors.attach_paths`,
and those are cut exactly; whatever else looks like an absolute path is cut as well, as far as a path without blanks can
be told from the words around it. Terminals and logs get the whole sentence.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from core.models.hub.cache import find_cache_folder
from core.settings.schema import find_folders

ROUTES: Final = (
    "/api/blobs",
    "/api/chat",
    "/api/copy",
    "/api/create",
    "/api/delete",
    "/api/embed",
    "/api/embeddings",
    "/api/generate",
    "/api/ps",
    "/api/pull",
    "/api/push",
    "/api/show",
    "/api/tags",
    "/api/version",
    "/audio/transcriptions",
    "/audio/translations",
    "/chat/completions",
    "/chat/completions/control",
    "/chat/completions/input_tokens",
    "/models/load",
    "/models/pin",
    "/models/unload",
    "/responses/compact",
    "/responses/input_tokens",
    "/schema/openapi.json",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/cache/stats",
    "/v1/chat/completions",
    "/v1/chat/completions/control",
    "/v1/chat/completions/input_tokens",
    "/v1/completions",
    "/v1/downloads",
    "/v1/embeddings",
    "/v1/engines",
    "/v1/fit",
    "/v1/health",
    "/v1/logs",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/models",
    "/v1/models/load",
    "/v1/models/pin",
    "/v1/models/unload",
    "/v1/queue/stats",
    "/v1/requests",
    "/v1/rerank",
    "/v1/reranking",
    "/v1/responses",
    "/v1/responses/compact",
    "/v1/responses/input_tokens",
    "/v1/search",
    "/v1/usage",
    "/v2/rerank",
)
"""Paths of HTTP servers that sentences tell of: of this one, and of those it passes requests on to."""

_UNKNOWABLE = (RuntimeError, ValueError, OSError)
"""What `pathlib` raises where a user has no home, where a name cannot be a file's, and where links lead nowhere."""
_SEPARATOR = r"[/\\]+"
_FOLDERS = rf"(?:[^\s/\\'\"`<>|]+{_SEPARATOR})"
_ADDRESS = (
    # Of a server, with what follows it as far as that is surely a part of it.
    r"(?<![\w.+-])(?!file:)[A-Za-z][\w.+-]{1,20}://[^\s/\\?#=,;()'\"`<>|]+(?:/[\w.~%@!$&*+-]*)*"
)
_POSIX = (
    rf"(?!(?:{'|'.join(map(re.escape, ROUTES))})(?![\w/-]|\.\w))"
    r"(?:file:(?://)?)?(?:~[\w.-]*/+|(?<!:)//|/(?!/))(?:[^\s/'\"`<>|]+/+)+"
)
_WINDOWS = (
    # Elsewhere a backslash is no separator: patterns and escaped characters are full of them. No host's name is as
    # short as what they escape.
    rf"(?:(?:\\{{2,4}}[?.]\\{{1,2}})?[A-Za-z]:{_SEPARATOR}|\\{{2,4}}[\w.$-]{{2,}}\\{{1,2}}){_FOLDERS}+"
)
_PATH = re.compile(
    # Neither amid a word or a relative path, nor in a pointer into a JSON document or a pattern.
    rf"(?P<address>{_ADDRESS})|(?<![\w/\\.~#^])(?:{_POSIX}|{_WINDOWS})"
)


def drop_folders(text: str, paths: Collection[Path] = ()) -> str:
    """`text` with every absolute path cut down to its last part. `paths`: files and folders that it may speak of."""
    if "/" not in text and "\\" not in text:
        return text
    for folder in _longest_first(parent for path in paths for parent in _parents(path)):
        text = re.sub(rf"(?<!\w){re.escape(folder)}{_SEPARATOR}", "", text)
    for folder in _longest_first(_list_usual_folders()):
        text = re.sub(rf"(?<!\w){re.escape(folder)}{_SEPARATOR}{_FOLDERS}*", "", text)
        text = re.sub(rf"(?<!\w){re.escape(folder)}(?![\w-]|\.\w)", "a folder", text)
    return _PATH.sub(lambda found: found["address"] or "", text)


def _parents(path: Path) -> Iterator[str]:
    """The folder of a file, as it was given, without links, and with the user's home written out."""
    yield str(path.parent)
    for other in (path.expanduser, path.resolve):
        with suppress(*_UNKNOWABLE):
            yield str(other().parent)


def _list_usual_folders() -> Iterator[str]:
    """Folders whose names may hold blanks, so that they are not recognised as any other path is."""
    known: tuple[Callable[[], Path], ...] = (
        Path.home,
        lambda: Path(tempfile.gettempdir()),
        lambda: find_folders().config,
        lambda: find_folders().cache,
        lambda: find_folders().state,
        find_cache_folder,
    )
    for find in known:
        with suppress(*_UNKNOWABLE):
            folder = find()
            yield str(folder)
            yield str(folder.resolve())


def _longest_first(named: Iterator[str]) -> list[str]:
    """Without the roots of file systems, which are in every path, and what is relative, as the names of models are."""
    known = {folder for folder in named if _is_rooted(folder) and len(Path(folder).parts) > 1}
    return sorted(known, key=len, reverse=True)


def _is_rooted(folder: str) -> bool:
    return folder.startswith("~") or Path(folder).is_absolute()
