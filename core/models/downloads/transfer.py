"""One file, from the Hub into the cache: resumed where a part is there, verified, and linked where programs look.

huggingface_hub 2.4 throws away what it has when a download breaks off. The bytes are therefore fetched here, into
`blobs/ETAG.incomplete`; the finished blob is then handed to `hf_hub_download`, which finds nothing left to fetch and
makes the snapshot's entry as it would for itself.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from core.errors import ChecksumMismatch, DownloadError, HubUnreachable
from core.models.downloads.bandwidth import Throttle
from core.models.downloads.checksum import Checksum
from core.models.downloads.remote_file import Remote, find_first_byte, look_up_file
from core.models.hub.endpoint import HubAccess, RepoCache, measure_file
from core.models.hub.http import build_headers, raise_hub_errors, translate_refusal
from core.models.hub.repository import RepoFile
from core.retry import Patience, Stopped, Transient, repeat_attempt

if TYPE_CHECKING:
    import httpx

POLL_SECONDS = 0.1
"""Seconds between looks at a lock that another process holds."""


class Listener(Protocol):
    """Told how a transfer is getting on, on the transfer's thread."""

    def holds(self, path: str, size: int) -> None:
        """`size` bytes of the file are on the disk."""

    def received(self, count: int) -> None:
        """Bytes came from the network."""

    def retrying(self, reason: str, seconds: float) -> None:
        """A try failed, and the next one begins after so many seconds."""

    def waiting(self, reason: str) -> None: ...

    def running(self) -> None: ...

    def verifying(self) -> None:
        """The part of the file that is here is read for its checksum."""


@dataclass(frozen=True)
class Line:
    """What the transfers of a manager share."""

    client: httpx.Client
    access: HubAccess
    throttle: Throttle
    patience: Patience


class Transfer:
    """`run` on one thread; `interrupt`, after `stop` was set, from any other."""

    def __init__(
        self,
        line: Line,
        repo: str,
        commit: str,
        file: RepoFile,
        stop: threading.Event,
        listener: Listener,
        rest: Callable[[float], bool],
    ) -> None:
        """`rest` lets the seconds between two tries pass, and answers whether to stop."""
        self._line = line
        self._repo = repo
        self._commit = commit
        self._file = file
        self._stop = stop
        self._listener = listener
        self._rest = rest
        self._cache = RepoCache(line.access.cache, repo, commit)
        self._furthest = 0
        """The furthest byte that ever arrived: only bytes beyond it count as progress."""
        self._checksum: Checksum | None = None
        self._socket: socket.socket | None = None

    def run(self) -> bool:
        """Fetch the file; False where it was here already. Raises Stopped, HubError, DownloadError or OSError."""
        if self._cache.complete(self._file):
            self._listener.holds(self._file.path, self._file.size)
            return False
        try:
            repeat_attempt(
                self._attempt, self._line.patience, self._rest, lambda: self._furthest, self._listener.retrying
            )
        except Transient as failure:
            raise DownloadError(
                f"{failure} It was tried {self._line.patience.attempts} times; {self._file.path} is kept as far as it "
                "came, and downloading it again goes on from there."
            ) from failure
        return True

    def interrupt(self) -> None:
        """End at once a read that waits for bytes."""
        if (connection := self._socket) is not None:
            # Not the method of a TLS socket, which would take its state away from the thread that reads.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _attempt(self) -> None:
        """One try. Raises Transient where another one may succeed, and as `run`."""
        try:
            self._bring()
        except HubUnreachable as error:
            if self._stop.is_set():
                raise Stopped from error
            raise Transient(error.reason, error.retry_after) from error

    def _bring(self) -> None:
        if self._stop.is_set():
            raise Stopped
        self._listener.running()
        remote = self._look()
        with self._alone(remote.etag):
            blob, partial = self._cache.blob(remote.etag), self._cache.partial(remote.etag)
            if measure_file(blob) != remote.size:
                if measure_file(blob) >= 0:
                    # Another program cut it short; its beginning is verified with the rest.
                    blob.replace(partial)
                self._fetch(remote, partial)
                partial.replace(blob)
        self._publish(blob)
        self._listener.holds(self._file.path, self._file.size)

    def _look(self) -> Remote:
        remote = look_up_file(self._line.client, self._line.access, self._repo, self._commit, self._file.path)
        expected = self._file.sha256 or remote.etag
        if remote.commit != self._commit or remote.size != self._file.size or remote.etag != expected:
            raise DownloadError(
                f"The Hub now has another {self._file.path} in {self._repo} than the one that was chosen; "
                "find the model again and download that."
            )
        return remote

    @contextlib.contextmanager
    def _alone(self, etag: str) -> Iterator[None]:
        """Hold the lock of a blob, which other programs respect as well."""
        from filelock import FileLock, Timeout

        path = self._cache.lock(etag)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, mode=0o664)
        while True:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                self._listener.waiting(f"Another download fetches {self._file.path}; waiting for it.")
                self._listener.holds(self._file.path, self._cache.held(self._file))
                if self._stop.wait(POLL_SECONDS):
                    raise Stopped from None
            else:
                break
        try:
            self._listener.running()
            yield
        finally:
            lock.release()

    def _fetch(self, remote: Remote, partial: Path) -> None:
        """Bring the partial file to its end. Raises ChecksumMismatch, and as `_receive`."""
        partial.parent.mkdir(parents=True, exist_ok=True)
        have = max(0, measure_file(partial))
        if have > remote.size:
            partial.unlink()
            have = 0
        checksum = self._checksum_of(remote, have)
        if checksum.taken < have:
            self._listener.verifying()
            checksum.read(partial, have, self._stop)
            self._listener.running()
        if have < remote.size or not partial.exists():
            self._receive(remote, partial, checksum)
        if not checksum.right:
            self._checksum = None
            partial.unlink()
            raise ChecksumMismatch(
                f"What arrived of {self._file.path} is not what the Hub says it is: its checksum differs, so it was "
                "deleted; download it again."
            )

    def _checksum_of(self, remote: Remote, have: int) -> Checksum:
        """The checksum of the last try, unless the file has become shorter since."""
        if self._checksum is None or self._checksum.etag != remote.etag or self._checksum.taken > have:
            self._checksum = Checksum(remote.etag, remote.size)
        return self._checksum

    def _receive(self, remote: Remote, partial: Path, checksum: Checksum) -> None:
        """Fetch what `checksum` has not taken yet. Raises HubError, Transient, Stopped, OSError."""
        have, access = checksum.taken, self._line.access
        headers = build_headers(access, own=remote.own, start=have)
        try:
            with (
                raise_hub_errors(access, remote.url),
                self._line.client.stream("GET", remote.url, headers=headers, follow_redirects=True) as response,
            ):
                start = self._start(response, remote, have)
                with partial.open("r+b" if have else "wb", buffering=0) as file:
                    file.seek(have)
                    self._copy(response, file, checksum, remote.size, have - start)
                    if checksum.taken != remote.size:
                        if "content-length" not in response.headers:
                            # The body ended as though it were whole, so it was another file.
                            file.truncate(have)
                        raise Transient(f"The Hub sent only a part of {self._file.path}.")
        finally:
            self._socket = None

    def _start(self, response: httpx.Response, remote: Remote, have: int) -> int:
        """The byte at which the body begins. Raises HubError or Transient."""
        stream = response.extensions.get("network_stream")
        self._socket = stream.get_extra_info("socket") if stream is not None else None
        if self._stop.is_set():
            # `interrupt` may have looked for the connection before there was one.
            raise Stopped
        if response.status_code in (200, 206):
            return find_first_byte(response, self._file.path, remote.size, have)
        if response.status_code in (401, 403, 404, 416) and not remote.own:
            # Signed addresses run out; the next try asks for a fresh one.
            raise Transient(f"The address of {self._file.path} is no longer valid.")
        if not response.is_error:
            raise Transient(f"The Hub answered with status {response.status_code} instead of sending the file.")
        raise translate_refusal(response, self._line.access, self._repo, self._file.path)

    def _copy(self, response: httpx.Response, file: Unbuffered, checksum: Checksum, size: int, known: int) -> None:
        """Append a body to a file that is to have `size` bytes; the first `known` of the body are there already."""
        throttle = self._line.throttle
        self._listener.holds(self._file.path, checksum.taken)
        for piece in response.iter_raw():
            rest = memoryview(piece)[known:][: size - checksum.taken]
            known = max(0, known - len(piece))
            grown = bool(rest)
            while rest:
                # A disk that is nearly full takes a part of what it is given.
                written = file.write(rest) or 0
                checksum.add(rest[:written])
                rest = rest[written:]
            if grown:
                self._furthest = max(self._furthest, checksum.taken)
                self._listener.holds(self._file.path, checksum.taken)
            self._listener.received(len(piece))
            throttle.took(len(piece), self._stop)
            if self._stop.is_set():
                raise Stopped
            if not grown and checksum.taken == size:
                # The body is longer than the file; the checksum tells whether its beginning is right.
                return

    def _publish(self, blob: Path) -> None:
        """Let huggingface_hub make the snapshot's entry. Raises Transient or OSError."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        pointer = self._cache.pointer(self._file.path)
        if os.path.lexists(pointer) and not self._cache.complete(self._file):
            pointer.unlink()
        access = self._line.access
        try:
            hf_hub_download(
                self._repo,
                self._file.path,
                revision=self._commit,
                cache_dir=access.cache,
                endpoint=access.endpoint,
                token=access.token or False,
            )
        except (HfHubHTTPError, LocalEntryNotFoundError) as error:
            raise Transient(f"The Hub did not confirm {self._file.path}.") from error
        if not pointer.is_symlink() and pointer.stat().st_ino != blob.stat().st_ino:
            # Without symbolic links huggingface_hub copies the blob, which then is not needed twice.
            blob.unlink()


class Unbuffered(Protocol):
    def write(self, data: memoryview, /) -> int | None: ...
