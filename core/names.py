"""What is written for a model, told apart: pure, nothing is looked up.

A built-in model, a file or folder here, a server, an alias of the catalog with its variant, or a repository of the
Hub with what is wanted of it.

There are two doors. `parse_name` is for the user of this machine, who may name any of these. `parse_asked` is for
clients, who may be strangers: they name models, never files or addresses, and what they get is a type that cannot hold
one. Both clean a text first and judge it afterwards; behind them there are only parsed names.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection
from difflib import get_close_matches
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from msgspec import Struct

from core.errors import ModelNotFound

GGUF_LABEL: Final = re.compile(
    r"(?:^|[-._ ])((?:UD-)?(?:"
    r"I?Q\d(?:_K|_\d)?(?:_(?:XXS|XS|S|M|L|XL|XXL|NL))?(?:_\d+)*"
    r"|TQ\d_\d|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|FP?32"
    r"))(?=$|[-._ ])",
    re.IGNORECASE,
)
"""`Q4_K_M`, `IQ2_XXS`, `UD-Q4_K_XL`, `Q4_0_4_4`, `MXFP4_MOE`, `BF16` ... between dashes or dots."""


SPLIT: Final = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
"""How parts of a split file are called; the first holds the metadata."""


LATEST: Final = "latest"
"""The usual tag of Ollama's names."""
GUIDE: Final = "guide"
ECHO: Final = "echo"
BUILT_IN: Final = (GUIDE, ECHO)
SCHEMES: Final = ("http://", "https://")
HUB_HOSTS: Final = ("huggingface.co", "www.huggingface.co", "hf.co")
VIEWS: Final = ("tree", "blob", "resolve", "raw")
"""Parts of the Hub's web addresses that stand before a revision."""
SITES: Final = ("datasets", "spaces", "docs", "papers", "models", "collections", "api")
"""First parts of the Hub's addresses that are no owner's name."""
FILES: Final = (".gguf", ".bin", ".onnx", ".pte", ".mnn", ".safetensors")
"""Ends of the names of model files."""
MOST_NAME_CHARACTERS: Final = 4096
"""Characters of a name; no path is longer."""
MOST_VARIANT_CHARACTERS: Final = 128
"""Characters behind a colon."""
SHOWN_CHARACTERS: Final = 200
"""Characters of a name that a message repeats."""
LEAST_PART_CHARACTERS: Final = 3
"""Of a part of a name by which the name may be meant."""
MOST_NEAR_NAMES: Final = 3
ASKED_FORMS: Final = "a request names a model, by the name it has in /v1/models or as owner/name."

_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
"""An owner's or a repository's name, as the Hub allows them."""
_WORD = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._+-]{{0,{MOST_VARIANT_CHARACTERS - 1}}}")
"""What may stand behind a colon."""
_REFS = re.compile(r"refs/(?:pr/\d+|convert/[A-Za-z0-9._-]+)(?=$|[:/])")
"""The Hub's revisions that have slashes in their names: pull requests and conversions."""
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,254}")
_DRIVE = re.compile(r"[A-Za-z]:($|[\\/])")


class BuiltIn(Struct, frozen=True, tag=True):
    """A model that the package carries."""

    name: str

    def __str__(self) -> str:
        return self.name


class HubName(Struct, frozen=True, tag=True):
    """A repository of the Hub, and what is wanted of it: a label or a file, or whatever is usual."""

    repo: str
    """`owner/name`."""
    label: str | None = None
    """A quant (`Q4_K_M`), a width (`4bit`, `8bit`, `fp16`) or another variant, in the letters it was written in."""
    file: str | None = None
    """A path inside the repository; checked: relative, plain, without `..`."""
    revision: str | None = None
    """A branch, tag or commit; None is `main`."""

    def __str__(self) -> str:
        revision = f"@{quote(self.revision, safe='')}" if self.revision else ""
        label = f":{self.label}" if self.label else ""
        file = f"/{self.file}" if self.file else ""
        text = f"{self.repo}{revision}{label}{file}"
        # A repository may be called as files are.
        return f"hf.co/{text}" if looks_like_path(text) else text


class LocalPath(Struct, frozen=True, tag=True):
    """A file or folder on this machine, as it was written."""

    path: str
    hides: HubName | None = None
    """The repository of the same spelling, which the path goes before because it is there."""

    def __str__(self) -> str:
        return self.path


class Server(Struct, frozen=True, tag=True):
    """A server's address, as it was written and not yet examined."""

    url: str

    def __str__(self) -> str:
        return self.url


class Alias(Struct, frozen=True, tag=True):
    """A model of the catalog."""

    alias: str
    """As the catalog has it."""
    variant: str | None = None
    """A width (`4bit`, `8bit`, `fp16`) or a quant of its own choice."""

    def __str__(self) -> str:
        return f"{self.alias}:{self.variant}" if self.variant else self.alias


class Unknown(Struct, frozen=True, tag=True):
    """A word that stands for nothing that is known."""

    text: str

    def __str__(self) -> str:
        return self.text


AskedName = BuiltIn | HubName | Alias | Unknown
"""What a client may name."""
Name = AskedName | LocalPath | Server
"""What the user of this machine may name."""

_UNSEEN: Final = ("Cc", "Cf", "Zs", "Zl", "Zp")
"""Unicode's categories of what cannot be seen: controls, marks of format such as a BOM, and blanks of all kinds."""
_BREAKING: Final = ("Cc", "Cs", "Zl", "Zp")
"""Categories of which no name that a client gives holds any: controls, halves of characters, ends of lines."""


def _nowhere(_: str) -> bool:
    return False


def parse_name(text: str, aliases: Collection[str] = (), exists: Callable[[str], bool] = _nowhere) -> Name:
    """What `text` stands for. `exists` says whether a path is there; a path that is goes before a repository.

    Raises ModelNotFound for what no model can be called, such as a file outside its repository, and nothing else.
    """
    name = clean_name(text)
    if "\0" in name:
        raise ModelNotFound(text, f"{shorten_name(text)} can be no model's name; check how it is spelled.")
    if name in BUILT_IN:
        return BuiltIn(name)
    # A file may be called with a blank at its end; what is not there is never meant so.
    if name != text and "\0" not in text and exists(text):
        return LocalPath(text)
    if exists(name):
        return LocalPath(name, _namesake(name))
    return _parse(name, aliases)


def parse_asked(text: str, aliases: Collection[str] = ()) -> AskedName:
    """What a client's words stand for. Nothing is looked for on the disk, so they cannot tell what is there.

    Raises ModelNotFound for a path, for an address, and for what no model can be called.
    """
    name = clean_name(text)
    if any(unicodedata.category(letter) in _BREAKING for letter in name):
        raise ModelNotFound(text, f"{shorten_name(text)} can be no model's name; check how it is spelled.")
    match _parse(name, aliases):
        case LocalPath():
            raise ModelNotFound(name, f"{shorten_name(name)} is a path; {ASKED_FORMS}")
        case Server():
            raise ModelNotFound(name, f"{shorten_name(name)} is an address; {ASKED_FORMS}")
        case asked:
            return asked


def clean_name(text: str) -> str:
    """A name without the blanks, controls and marks of format around it. Raises ModelNotFound where nothing is left,
    and for more than MOST_NAME_CHARACTERS characters."""
    if len(text) > MOST_NAME_CHARACTERS:
        raise ModelNotFound(
            text[:SHOWN_CHARACTERS], f"{shorten_name(text)} can be no model's name; check how it is spelled."
        )
    start, end = 0, len(text)
    while start < end and unicodedata.category(text[start]) in _UNSEEN:
        start += 1
    while start < end and unicodedata.category(text[end - 1]) in _UNSEEN:
        end -= 1
    if start == end:
        raise ModelNotFound(text, "A model's name is empty; give one, for instance guide.")
    return text[start:end]


def drop_latest(name: str) -> str:
    """A name without the tag that clients of Ollama put behind every name that has none."""
    return name.removesuffix(f":{LATEST}")


def are_same(one: str, other: str) -> bool:
    """Whether two names read the same: systems differ in how they write a letter with its accent."""
    return one == other or unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


def _parse(text: str, aliases: Collection[str]) -> Name:
    if text in BUILT_IN:
        return BuiltIn(text)
    if (address := _on_hub(text)) is not None:
        return _pasted(text, address)
    if text.lower().startswith(SCHEMES):
        return Server(text)
    if (alias := _alias(text, aliases)) is not None:
        return alias
    if looks_like_path(text):
        return LocalPath(text)
    if "/" in text or "\\" in text:
        return _hub(text, text)
    return Unknown(text)


def looks_like_path(text: str) -> bool:
    """Whether it is written as a path, there or not: from a root, a home or a dot, or a file's name."""
    if text.startswith(("/", "~", "\\", "./", "../", ".\\", "..\\")) or text in (".", "..") or _DRIVE.match(text):
        return True
    return text.lower().endswith(FILES) and text.count("/") < 2 and ":" not in text


def shorten_name(text: str) -> str:
    """A name fit for a message."""
    return repr(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}...")


def list_near_names(text: str, names: Collection[str]) -> list[str]:
    """Those that somebody may mean who wrote `text`, which is none of them: it is a part of theirs, or nearly one. The
    likeliest first."""
    wanted = text[:SHOWN_CHARACTERS].casefold()
    folded = {name.casefold(): name for name in names}
    parts = sorted((name for name in folded if wanted in name), key=len) if len(wanted) >= LEAST_PART_CHARACTERS else []
    near = dict.fromkeys((*parts, *get_close_matches(wanted, folded, MOST_NEAR_NAMES)))
    return [folded[name] for name in near][:MOST_NEAR_NAMES]


def _alias(text: str, aliases: Collection[str]) -> Alias | None:
    """The longest alias that the text begins with, up to its end or a colon."""
    wanted = text.lower()
    head, variant = wanted, ""
    while head:
        if head in aliases:
            return Alias(head, text[len(head) + 1 :] or None) if not variant or _WORD.fullmatch(variant) else None
        head, _, last = head.rpartition(":")
        variant = f"{last}:{variant}" if variant else last
    return None


def _namesake(path: str) -> HubName | None:
    """The repository that is spelled like a path which is there."""
    if looks_like_path(path):
        return None
    try:
        return _hub(path, path)
    except ModelNotFound:
        return None


def _on_hub(text: str) -> str | None:
    """What follows the Hub's address, with or without `https://`; None for another one."""
    lower = text.lower()
    scheme = next((each for each in (*SCHEMES, "hf://") if lower.startswith(each)), "")
    rest = text[len(scheme) :]
    if scheme == "hf://":
        return rest
    host, slash, path = rest.partition("/")
    return path if slash and host.lower() in HUB_HOSTS else None


def _pasted(text: str, address: str) -> HubName:
    """A page of the Hub: a repository, its tree at a revision, or one of its files."""
    try:
        path = urlsplit(f"//hub/{address}").path.strip("/")
    except ValueError:
        raise _refused(text) from None
    if path.partition("/")[0] in SITES:
        raise ModelNotFound(
            text, f"{shorten_name(text)} is a page of the Hub but no model's; give the one of a repository."
        )
    parts = path.split("/")
    if len(parts) == 3 and parts[2] in VIEWS:
        parts = parts[:2]
    if len(parts) < 4 or parts[2] not in VIEWS:
        return _hub("/".join(parts), text)
    at = "/".join(unquote(part) for part in parts[3:])
    found = _REFS.match(at)
    revision = found[0] if found else unquote(parts[3])
    file = at[len(revision) :].removeprefix("/")
    return _checked("/".join(parts[:2]), text, None if revision == "main" else revision, file=file or None)


def _hub(written: str, text: str) -> HubName:
    """`owner/name[@revision][:label]`, or `owner/name[@revision]/file`."""
    owner, _, rest = written.partition("/")
    before, at, after = rest.partition("@")
    if "/" not in before and (refs := _REFS.match(after)):
        rest = f"{before}{at}{quote(refs[0], safe='')}{after[refs.end() :]}"
    name, slash, file = rest.partition("/")
    name, colon, label = name.partition(":")
    name, at, revision = name.partition("@")
    if slash and not file and not colon:
        slash = ""
    if (at and not revision) or (colon and not label) or (slash and (not file or colon)):
        raise _refused(text)
    return _checked(f"{owner}/{name}", text, unquote(revision) or None, label or None, file or None)


def _checked(
    repo: str, text: str, revision: str | None = None, label: str | None = None, file: str | None = None
) -> HubName:
    owner, _, name = repo.partition("/")
    plain = all(_PART.fullmatch(part) and "--" not in part and ".." not in part for part in (owner, name))
    if not plain or owner.lower() in HUB_HOSTS:
        raise _refused(text)
    if label is not None and not _WORD.fullmatch(label):
        raise _refused(text)
    if revision is not None and (not _REVISION.fullmatch(revision) or _strays(revision)):
        raise ModelNotFound(
            text, f"{shorten_name(text)} names a revision that can be none; give a branch, tag or commit."
        )
    if file is not None and _strays(file):
        raise ModelNotFound(
            text,
            f"{shorten_name(text)} names a file that would lie outside its repository; give a plain path inside it.",
        )
    return HubName(repo, label, file, revision)


def _strays(path: str) -> bool:
    """Whether a path inside a repository could lead out of it, or is not plain: what is percent-encoded counts as
    what it stands for."""
    plain = unquote(path)
    parts = plain.split("/")
    if not plain.isprintable() or "\\" in plain or ":" in plain or unquote(plain) != plain:
        return True
    return any(part in ("", ".", "..") or part != part.strip() for part in parts)


def _refused(text: str) -> ModelNotFound:
    return ModelNotFound(
        text,
        f"{shorten_name(text)} is no model's name; write owner/name, owner/name:Q4_K_M, owner/name/file.gguf "
        "or owner/name@revision for one of the Hub, or a path that begins with ./ or /.",
    )


def drop_password(address: str) -> str:
    """An address fit to be shown: without what stands before the last @, which may be a password."""
    scheme, mark, rest = address.rpartition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
