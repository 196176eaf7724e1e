"""Sentences as clients may read them, who may be strangers: files go by their names, without the folders they lie in.

This is done to the finished sentence, at the edge, and not by each error that names a file: half of the paths stand in
words of native libraries and of the system, which an error only quotes, so that a rule for those who raise errors would
be broken by the next of them. Whoever knows which files a sentence is about says so with `core.errors.about`, and those
are cut exactly; whatever else looks like an absolute path is cut as well, as far as a path without blanks can be told
from the words around it. Terminals and logs get the whole sentence.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from core.config import folders
from core.models.hubcache import cache_folder

_SEPARATOR = r"[/\\]+"
_FOLDERS = rf"(?:[^\s/\\'\"`<>|]+{_SEPARATOR})"
_ABSOLUTE = re.compile(
    # Neither amid a word or a relative path, nor in the address of a server,
    r"(?<![\w/\\.~%@\]-])"
    # in whichever way a path begins on the systems there are,
    r"(?:file:(?://)?)?(?:~[\w.-]*[/\\]+|[A-Za-z]:[/\\]+|(?<!:)[/\\]{2}|[/\\](?![/\\]))"
    # unless it is a path of an HTTP server, such as sentences tell of;
    r"(?!(?:v1|api|schema)/)"
    # what follows it is the name that stays.
    rf"{_FOLDERS}+"
)


def without_folders(text: str, places: Collection[Path] = ()) -> str:
    """`text` with every absolute path cut down to its last part. `places`: files and folders that it may speak of."""
    if "/" not in text and "\\" not in text:
        return text
    for folder in _longest_first(parent for place in places for parent in _parents(place)):
        text = re.sub(rf"(?<!\w){re.escape(folder)}{_SEPARATOR}", "", text)
    for folder in _longest_first(_usual()):
        text = re.sub(rf"(?<!\w){re.escape(folder)}{_SEPARATOR}{_FOLDERS}*", "", text)
        text = re.sub(rf"(?<!\w){re.escape(folder)}(?![\w-]|\.\w)", "a folder", text)
    return _ABSOLUTE.sub("", text)


def _parents(place: Path) -> Iterator[str]:
    """The folder of a file, as it was given, without links, and with the user's home written out."""
    for each in (place, place.expanduser(), place.resolve()):
        yield str(each.parent)


def _usual() -> Iterator[str]:
    """Folders whose names may hold blanks, so that they are not recognised as any other path is."""
    own = folders()
    for folder in (Path.home(), Path(tempfile.gettempdir()), own.config, own.cache, own.state, cache_folder()):
        yield from (str(folder), str(folder.resolve()))


def _longest_first(named: Iterator[str]) -> list[str]:
    """Without the roots of file systems, which are in every path, and what is relative, as the names of models are."""
    known = {folder for folder in named if Path(folder).expanduser().is_absolute() and len(Path(folder).parts) > 1}
    return sorted(known, key=len, reverse=True)
