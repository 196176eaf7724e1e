"""A Hub on loopback: a real HTTP server that answers what huggingface_hub asks, and fails the way networks do.

What it answers was read off huggingface_hub 2.4 and the Hub's public description of its API. Large files are
redirected to a second port, which stands for the CDN: another origin, to which no token may be sent. No Xet.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from tests.fakes.hub_faults import Fault, Query, SeenRequest
from tests.fakes.hub_files import Held, JsonObject, Sparse, Stored

__all__ = ["Fault", "LoopbackHub", "SeenRequest", "Sparse"]

USUALLY_LISTED = ("downloads", "likes", "private", "tags", "pipeline_tag", "library_name", "createdAt")
FULLY_LISTED = (*USUALLY_LISTED, "author", "gated", "lastModified", "sha", "siblings")


class LoopbackHub:
    """Usable in a `with`, or by `start()` and `close()`. `stop()` takes the network away; `start()` brings it back
    on the same ports."""

    def __init__(self, page_size: int = 1000, send_buffer: int | None = None) -> None:
        """`page_size`: how many entries a page of any listing has at most. `send_buffer`: bytes that the system may
        hold back of what counts as sent; None leaves it to the system, which takes a few MB."""
        self.faults: list[Fault] = []
        self.requests: list[SeenRequest] = []
        self.tokens = {"hf_reader": "reader"}
        """Whom each token belongs to."""
        self.page_size = page_size
        self.send_buffer = send_buffer
        self._commits: dict[tuple[str, str], Held] = {}
        self._lock = threading.Lock()
        self._servers: list[_Server] = []
        self._ports = (0, 0)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def cdn_url(self) -> str:
        return f"http://127.0.0.1:{self._ports[1]}"

    def add(
        self,
        name: str,
        files: Mapping[str, bytes | Sparse],
        *,
        gated: bool = False,
        private: bool = False,
        token: str | None = None,
        task: str | None = "text-generation",
        licence: str | None = "apache-2.0",
        downloads: int = 10,
        likes: int = 3,
        tags: tuple[str, ...] = (),
        library: str | None = None,
        updated: str = "2026-01-01T00:00:00.000Z",
        branch: str = "main",
        **extra: object,
    ) -> str:
        """Add a repository, or a commit to it, and return the commit. Earlier ones can still be had by their hash."""
        stored = {path: Stored(path, content) for path, content in files.items()}
        listing = "".join(f"{path}\0{file.size}\0{file.oid}\n" for path, file in stored.items())
        commit = hashlib.sha1(f"{name}\0{listing}".encode()).hexdigest()
        held = Held(
            name, stored, commit, gated, private, token, task, licence, downloads, likes, tags, library, updated, extra
        )
        with self._lock:
            self._commits[name, branch] = self._commits[name, commit] = held
        return commit

    def start(self) -> None:
        # Bound while both are held, so that neither takes the other's port.
        self._servers = [_Server(self, port, cdn) for port, cdn in zip(self._ports, (False, True), strict=True)]
        self._ports = (self._servers[0].server_port, self._servers[1].server_port)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), name="loopback hub", daemon=True).start()

    def stop(self) -> None:
        """No new connection is taken, and those that are open break."""
        for server in self._servers:
            server.end()
        self._servers = []

    def close(self) -> None:
        self.stop()

    def find(self, name: str, revision: str) -> Held | None:
        return self._commits.get((name, revision))

    def models(self) -> list[Held]:
        return [held for (_, revision), held in self._commits.items() if revision == "main"]

    def fault(self, method: str, path: str) -> Fault:
        """The first that fits, used up by one; one without any effect where none does."""
        with self._lock:
            for fault in self.faults:
                if fnmatch.fnmatchcase(path, fault.where) and fault.method in (None, method) and fault.times != 0:
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return Fault()

    def bytes_sent(self, pattern: str = "*") -> int:
        """Of all bodies whose path fits the pattern."""
        return sum(asked.sent for asked in list(self.requests) if fnmatch.fnmatchcase(asked.path, pattern))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, hub: LoopbackHub, port: int, cdn: bool) -> None:
        self.hub = hub
        self.cdn = cdn
        self.ended = threading.Event()
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        assert isinstance(request, socket.socket)
        self._open.add(request)
        if self.hub.send_buffer is not None:
            request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.hub.send_buffer)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        assert isinstance(request, socket.socket)
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what many tests are about."""

    def end(self) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent: `requests` tells more."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        self.hub = self.server.hub
        self.query: Query = parse_qs(parts.query)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.asked = SeenRequest(self.command, path, self.query, headers, self.server.cdn)
        self.hub.requests.append(self.asked)
        self.fault = self.hub.fault(self.command, path)
        if self.fault.delay:
            self.server.ended.wait(self.fault.delay)
        if self.fault.status is not None:
            self._error(self.fault.status, self.fault.code, "The Hub was told to fail.")
        elif self.fault.redirect is not None:
            self._head(302, {"Location": self.fault.redirect, "Content-Length": "0"})
        elif self.server.cdn:
            self._cdn(path)
        else:
            self._route(parts.path)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.do_GET()

    # Routes.

    def _route(self, quoted: str) -> None:
        if quoted == "/api/models":
            self._search()
        elif quoted == "/api/whoami-v2":
            self._whoami()
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)", quoted):
            self._info(unquote(found[1]), "main")
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/([^/]+)", quoted):
            self._info(unquote(found[1]), unquote(found[2]))
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(?:/(.*))?", quoted):
            self._tree(unquote(found[1]), unquote(found[2]), unquote(found[3] or ""))
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", quoted):
            self._resolve(unquote(found[1]), unquote(found[2]), unquote(found[3]))
        else:
            self._error(404, None, "Sorry, we can't find the page you are looking for.")

    def _search(self) -> None:
        found = [
            held
            for held in self.hub.models()
            if (not held.private or self._may_see(held))
            and held.matches(
                self._one("search"),
                self._one("author"),
                [*self.query.get("filter", ()), *self.query.get("filter[]", ())],
                self._one("pipeline_tag"),
            )
            and self._one("gated").lower() in ("", str(held.gated).lower())
        ]
        order = self._one("sort") or "downloads"
        keyed = [(held.properties(), held) for held in found]
        keyed.sort(key=lambda each: str(each[0].get(order) or 0).rjust(24), reverse=self._one("direction") != "1")
        usual = FULLY_LISTED if self._one("full").lower() == "true" else USUALLY_LISTED
        rows = [self._row(held, properties, usual) for properties, held in keyed]
        self._page(rows, min(int(self._one("limit") or 1000), self.hub.page_size))

    def _row(self, held: Held, properties: JsonObject, usual: tuple[str, ...]) -> JsonObject:
        wanted = [*self.query.get("expand", ()), *self.query.get("expand[]", ())] or usual
        number = hashlib.sha1(held.name.encode()).hexdigest()[:24]
        return {"_id": number, "id": held.name, "modelId": held.name} | {
            key: properties[key] for key in wanted if properties.get(key) is not None
        }

    def _info(self, name: str, revision: str) -> None:
        held = self._held(name, revision)
        if held is not None:
            properties = held.properties(self._one("blobs").lower() == "true")
            self._json(self._row(held, properties, tuple(properties)))

    def _tree(self, name: str, revision: str, folder: str) -> None:
        held = self._held(name, revision)
        if held is None:
            return
        below = f"{folder}/" if folder else ""
        files = [file for path, file in held.files.items() if path.startswith(below)]
        if not files:
            self._error(404, "EntryNotFound", f"{folder} does not exist on {revision!r}")
            return
        recursive = self._one("recursive").lower() == "true"
        entries: dict[str, JsonObject] = {}
        for file in files:
            parents = file.path[len(below) :].split("/")[:-1]
            for depth in range(1, len(parents) + 1 if recursive else min(2, len(parents) + 1)):
                path = below + "/".join(parents[:depth])
                entries[path] = {
                    "type": "directory",
                    "oid": hashlib.sha1(path.encode()).hexdigest(),
                    "size": 0,
                    "path": path,
                }
            if recursive or not parents:
                entries[file.path] = file.listed()
        self._page(list(entries.values()), self.hub.page_size)

    def _resolve(self, name: str, revision: str, path: str) -> None:
        held = self._held(name, revision)
        if held is None:
            return
        file = held.files.get(path)
        said = {"X-Repo-Commit": held.commit, "Accept-Ranges": "bytes"}
        if file is None:
            self._error(404, "EntryNotFound", "Entry not found", said)
        elif held.gated and not self._may_see(held):
            status = 403 if self._token() else 401
            self._error(status, "GatedRepo", f"Access to model {name} is restricted.", said)
        elif file.lfs:
            location = f"{self.hub.cdn_url}/cdn/{name}/{quote(path)}?commit={held.commit}&signature=signed"
            linked = {"X-Linked-Size": str(file.size), "X-Linked-Etag": f'"{file.etag}"', "ETag": f'"{file.oid}"'}
            self._head(302, {**said, **linked, "Location": location, "Content-Length": "0"})
        else:
            self._content(file, said)

    def _cdn(self, path: str) -> None:
        found = re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path)
        held = self.hub.find(found[1], self._one("commit")) if found else None
        if found is None or held is None or self._one("signature") != "signed":
            self._error(403, None, "The signature does not match.")
        elif "authorization" in self.asked.headers:
            self._error(400, None, "Only one way of authentication is allowed.")
        else:
            self._content(held.files[found[2]], {"Accept-Ranges": "bytes"})

    def _whoami(self) -> None:
        user = self.hub.tokens.get(self._token())
        if user is None:
            self._error(401, None, "Invalid credentials in Authorization header")
        else:
            token = {"accessToken": {"displayName": "test", "role": "read"}, "type": "access_token"}
            self._json({"type": "user", "id": "1", "name": user, "fullname": user, "orgs": [], "auth": token})

    # Who asks.

    def _held(self, name: str, revision: str) -> Held | None:
        """The repository at a revision; None after an answer that says why it cannot be had."""
        held, newest = self.hub.find(name, revision), self.hub.find(name, "main")
        if newest is None or (newest.private and not self._may_see(newest)):
            self._error(404 if self._token() else 401, "RepoNotFound", "Repository not found")
            return None
        if held is None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return held

    def _may_see(self, held: Held) -> bool:
        token = self._token()
        return token == held.token if held.token is not None else token in self.hub.tokens

    def _token(self) -> str:
        return self.asked.headers.get("authorization", "").removeprefix("Bearer ")

    def _one(self, key: str) -> str:
        return self.query.get(key, [""])[0]

    # Answers.

    def _page(self, rows: list[JsonObject], size: int) -> None:
        start = int(self._one("cursor") or 0)
        headers = {}
        if start + size < len(rows):
            rest = [(key, value) for key, values in self.query.items() if key != "cursor" for value in values]
            query = urlencode([*rest, ("cursor", str(start + size))])
            headers["Link"] = f'<{self.hub.url}{urlsplit(self.path).path}?{query}>; rel="next"'
        self._json(rows[start : start + size], headers)

    def _json(self, value: object, headers: Mapping[str, str] | None = None, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self._head(status, {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})})
        self._body(iter([body]))

    def _error(self, status: int, code: str | None, message: str, headers: Mapping[str, str] | None = None) -> None:
        told = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._json({"error": message}, {**(headers or {}), **told}, status)

    def _content(self, file: Stored, headers: Mapping[str, str]) -> None:
        start, stop, status = 0, file.size, 200
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.asked.headers.get("range", ""))
        if wanted and not self.fault.ignore_range:
            status = 206
            if wanted[1]:
                start, stop = int(wanted[1]), min(file.size, int(wanted[2]) + 1 if wanted[2] else file.size)
            else:
                start = max(0, file.size - int(wanted[2] or 0))
            if start >= stop:
                self._error(416, None, "Range Not Satisfiable", {"Content-Range": f"bytes */{file.size}"})
                return
        if self.fault.shorten_to is not None:
            stop = min(stop, start + self.fault.shorten_to)
        said = {"ETag": f'"{file.etag}"', "Content-Length": str(stop - start), "Content-Type": "binary/octet-stream"}
        if status == 206:
            said["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
        self._head(status, {**headers, **said})
        self._body(file.read(start, stop))

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.asked.status = status
        self.send_response(status)
        for name, value in {**headers, **self.fault.headers}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()

    def _body(self, pieces: Iterator[bytes]) -> None:
        if self.command == "HEAD":
            return
        fault, begun = self.fault, time.monotonic()
        limits = [limit for limit in (fault.drop_after, fault.stall_after) if limit is not None]
        for number, whole in enumerate(pieces):
            piece = bytes([whole[0] ^ 255]) + whole[1:] if fault.corrupt and number == 0 and whole else whole
            if limits:
                piece = piece[: min(limits) - self.asked.sent]
            for part in self._slices(piece):
                self.wfile.write(part)
                self.asked.sent += len(part)
                if fault.rate:
                    self.server.ended.wait(max(0.0, begun + self.asked.sent / fault.rate - time.monotonic()))
            if limits and self.asked.sent >= min(limits):
                if fault.stall_after is not None:
                    self.server.ended.wait()
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                return

    def _slices(self, piece: bytes) -> Iterator[bytes]:
        """Small ones where the rate is limited, so that the bytes drip instead of coming in gushes."""
        step = max(1, int(self.fault.rate / 50)) if self.fault.rate else len(piece) or 1
        return (piece[start : start + step] for start in range(0, len(piece), step))
