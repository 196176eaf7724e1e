"""The Hub's ordinary cache on this machine, read without asking the Hub and without importing its library.

Its layout is huggingface_hub's: `models--OWNER--NAME/snapshots/COMMIT/PATH` are links to `blobs/ETAG`, and `refs/main`
holds the commit that was the newest when it was last asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from core.contract.artifact import Artifact, FormatName
from core.environment import clean_value
from core.errors import ModelNotFound
from core.models.formats.file_index import Finding, Inspector, Seen, see_file
from core.models.formats.registry import load_formats
from core.models.hub.choose_quant import ORDER, choose_quant
from core.models.hub.repository import Quant, RepoFile, Repository
from core.names import HubName

PREFIX: Final = "models--"
CACHE_VARIABLES: Final = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")
"""Variables that tell where the cache is."""


class CachedSnapshot(Struct, frozen=True):
    """The files of one commit of a repository that are in the cache."""

    repo: str
    commit: str
    folder: Path
    files: tuple[RepoFile, ...]
    seen: Mapping[str, Seen]
    """The files by their paths."""
    stray: tuple[str, ...] = ()
    """Paths of links that lead nowhere: their content was deleted."""


def find_cache_folder(environment: Mapping[str, str] | None = None) -> Path:
    """HF_HUB_CACHE, else `hub` below HF_HOME, else below the user's cache folder: as huggingface_hub has it, but that
    an empty one counts as not set. Downloads go there as well."""
    given = os.environ if environment is None else environment
    said = {name: clean_value(given.get(name, "")) for name in CACHE_VARIABLES}
    if folder := said["HF_HUB_CACHE"] or said["HUGGINGFACE_HUB_CACHE"]:
        return _expanded(folder)
    if home := said["HF_HOME"]:
        return _expanded(home) / "hub"
    return _expanded(said["XDG_CACHE_HOME"] or "~/.cache") / "huggingface" / "hub"


def list_repositories(cache: Path) -> list[str]:
    """The models in the cache, `owner/name` each. Empty where there is no cache."""
    try:
        names = sorted(entry.name for entry in os.scandir(cache) if entry.name.startswith(PREFIX) and entry.is_dir())
    except OSError:
        return []
    return [name.removeprefix(PREFIX).replace("--", "/", 1) for name in names]


def build_repo_folder(cache: Path, repo: str) -> Path:
    return cache / f"{PREFIX}{repo.replace('/', '--')}"


def list_snapshots(cache: Path, repo: str, revision: str | None = None) -> Iterator[CachedSnapshot]:
    """The snapshots of one revision; or of all commits, that of `main` first and then the newest."""
    folder = build_repo_folder(cache, repo)
    main = _ref(folder, revision or "main")
    try:
        commits = sorted((folder / "snapshots").iterdir(), key=_modified, reverse=True)
    except OSError:
        return
    for commit in sorted(commits, key=lambda each: each.name != main):
        if revision is None or commit.name in (main, revision):
            yield read_snapshot(repo, commit)


def read_snapshot(repo: str, folder: Path) -> CachedSnapshot:
    """One folder with all below it, a `stat` for each file."""
    seen: dict[str, Seen] = {}
    stray = []
    root = str(folder)
    for parent, _, names in os.walk(root):
        inside = parent[len(root) + 1 :].replace(os.sep, "/")
        for name in sorted(names):
            path = f"{inside}/{name}" if inside else name
            try:
                seen[path] = see_file(os.stat(os.path.join(parent, name)))  # noqa: PTH116, PTH118 - thousands of them
            except OSError:
                stray.append(path)
    files = tuple(RepoFile(path, each.size) for path, each in seen.items())
    return CachedSnapshot(repo, folder.name, folder, files, seen, tuple(stray))


def list_quants(snapshot: CachedSnapshot, inspector: Inspector | None = None) -> tuple[Quant, ...]:
    """The models in a snapshot, named as a listing of the repository would; `find_absent` tells which are
    incomplete."""
    from core.models.hub.quants import group_quants

    config = Finding()
    if "config.json" in snapshot.seen:
        look = (inspector or Inspector()).look
        config = look(snapshot.folder / "config.json", snapshot.seen["config.json"])
    return group_quants(
        snapshot.repo,
        snapshot.commit,
        snapshot.files,
        weights_label=config.label,
        model_type=config.kind,
        head=config.head,
    )


def find_absent(snapshot: CachedSnapshot, quant: Quant) -> str | None:
    """A file that a model refers to and that is not here; None where the model is complete."""
    formats = load_formats()
    if (known := formats.get(quant.format)) is None:
        return None
    files = [file.path for file in quant.files]
    return formats.ask(known, None, known.find_missing, snapshot.folder, files, snapshot.seen.keys())


def find_cached(name: HubName, cache: Path, formats: Sequence[FormatName] = ORDER) -> Artifact | None:
    """The model that a name asks for, where all of its files are in the cache; called by that name."""
    for snapshot in list_snapshots(cache, name.repo, name.revision):
        complete = tuple(quant for quant in list_quants(snapshot) if not find_absent(snapshot, quant))
        listing = Repository(snapshot.repo, snapshot.commit, snapshot.files, complete)
        try:
            return build_artifact(snapshot, choose_quant(name, listing, formats), complete, str(name))
        except ModelNotFound:
            continue
    return None


def build_artifact(snapshot: CachedSnapshot, quant: Quant, others: Sequence[Quant], name: str) -> Artifact:
    """`others` are all models of the snapshot: with several in one folder, the file is named."""
    formats, path = load_formats(), snapshot.folder
    if (known := formats.get(quant.format)) is not None:
        several = sum(other.format == quant.format for other in others) > 1
        files = [file.path for file in quant.files]
        path = formats.ask(known, path, known.locate_model, snapshot.folder, files, several=several)
    return Artifact(name, quant.format, path, quant.size)


def _ref(folder: Path, revision: str) -> str | None:
    try:
        return (folder / "refs" / revision).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _expanded(path: str) -> Path:
    # Where the system tells no home folder, the tilde stays; its like in pathlib fails.
    return Path(os.path.expanduser(os.path.expandvars(path)))  # noqa: PTH111
