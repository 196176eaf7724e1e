"""One connection: uvicorn's protocol, bounded in all that a stranger may send, and patient with half a close."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from api.transport.far_end import has_ended
from api.transport.half_closed import HalfClosed, find_descriptor
from api.transport.limits import ConnectionLimits
from api.transport.rank import Rank
from api.transport.refused import (
    BAD_FRAMING,
    BODY_INCOMPLETE,
    CROWDED,
    HEAD_TOO_LARGE,
    MALFORMED,
    TARGET_TOO_LONG,
    TOO_SLOW,
    Grounds,
    RequestRefused,
    write_refusal,
)
from api.transport.request_head import check_head, find_framing, is_websocket_offer, read_target
from api.transport.stalling import StallWatch
from api.transport.websocket import LONGEST_LINE_BYTES, MOST_HEADERS

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application


class Parsing(Enum):
    """What the next byte of the client belongs to."""

    NOTHING = "nothing"
    HEAD = "head"
    BODY = "body"


class Connection(HttpToolsProtocol):
    """Tells `left` when it has ended."""

    def __init__(
        self,
        config: Config,
        state: ServerState,
        limits: ConnectionLimits,
        admit: Callable[[Connection], bool],
        left: Callable[[Connection], None],
        upgrade: Callable[[], asyncio.Protocol],
    ) -> None:
        """`upgrade` makes what takes over where the client asks for a WebSocket."""
        super().__init__(config, state, {}, asyncio.get_running_loop())
        self._limits = limits
        self._admit = admit
        self._left = left
        self._upgrade = upgrade
        self._upgrading = False
        """Whether what follows the head is a WebSocket's."""
        self._parsing = Parsing.NOTHING
        self._since = self.loop.time()
        """When it connected, began its head, its body or its wait for the next request, or was refused."""
        self._fresh = True
        """Whether it has not asked anything yet."""
        self._refused = False
        self._discarded = 0
        self._offered: bytes | None = None
        """What frames the body of a request that offers another protocol."""
        self._staying = False
        self._unparsed = 0
        """Bytes that came without completing anything: of a head, or beside the body."""
        self._began = self._fed = False
        """Whether the bytes at hand began a request, or held some of a body."""
        self._lines = self._head = 0
        self._body = 0
        self._fed_at = 0.0
        self._running: RequestResponseCycle | None = None
        self.half_closed: HalfClosed | None = None
        """Of a client that has sent its last byte while it waited for an answer."""
        self._stalled = StallWatch(limits.write_seconds)

    # What the transport tells.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._admit(self):
            self._refuse(CROWDED)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for cycle in (self._running, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self._left(self)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            self._discarded += len(data)
            if self._discarded > self._limits.linger_bytes:
                self.transport.abort()
            return
        self._began = self._fed = False
        try:
            self._feed(data)
        except RequestRefused as refused:
            self._refuse(refused.grounds)
        except httptools.HttpParserError as error:
            # What a callback raises comes wrapped.
            cause = error.__context__
            self._refuse(cause.grounds if isinstance(cause, RequestRefused) else MALFORMED)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if self._upgrading:
                self._hand_over(rest)
                return
            self._stay()
            if rest:
                self._feed(rest)
            return
        if self._parsing is Parsing.NOTHING or self._fed or self._began:
            self._unparsed = 0
            return
        self._unparsed += len(data)
        if self._unparsed > self._limits.head_bytes:
            raise RequestRefused(HEAD_TOO_LARGE if self._parsing is Parsing.HEAD else BAD_FRAMING)

    def _hand_over(self, rest: bytes) -> None:
        self._left(self)
        self.connections.discard(self)
        taker = self._upgrade()
        taker.connection_made(self.transport)
        lines = [b"GET %b HTTP/1.1" % self.url, *(b"%b: %b" % header for header in self.headers)]
        self.transport.set_protocol(taker)
        taker.data_received(b"\r\n".join([*lines, b"", b""]) + rest)

    def _stay(self) -> None:
        """Go on in the old protocol: whether to change it is for the server to decide (RFC 9110, section 7.8). Clients
        that offer another with a body, as Java's does, send that body in the old one, which the parser will not read.
        """
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        if (framing := self._offered) is not None:
            self._offered, self._staying = None, True
            self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
            self._staying = False

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether the connection stays open for the answer."""
        cycle = self._running
        if cycle is None or cycle.response_complete:
            return False
        if cycle.more_body:
            if cycle is self.cycle and not cycle.response_started:
                self._refuse(BODY_INCOMPLETE)
            return False
        if self.half_closed is None:
            self._note_end()
        return True

    def _note_end(self) -> None:
        now = self.loop.time()
        self.half_closed = HalfClosed(self.transport, now)
        self.cycle.keep_alive = False
        if self._running is not None and self._running.response_started:
            # Wakes who attends to the client, and says something by which one that left is found out.
            self._running.message_event.set()
        self.look_for_client(now)

    # What the parser tells.

    def on_message_begin(self) -> None:
        if self._staying:
            return
        super().on_message_begin()
        self._parsing, self._began, self._fresh = Parsing.HEAD, True, False
        self._lines = self._head = 0
        self._since = self.loop.time()

    def on_url(self, url: bytes) -> None:
        if self._staying:
            return
        super().on_url(url)
        if len(self.url) > self._limits.target_bytes:
            raise RequestRefused(TARGET_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._lines += 1
        self._head += len(name) + len(value) + len(b": \r\n")
        if self._head > self._limits.head_bytes or self._lines > self._limits.headers:
            raise RequestRefused(HEAD_TOO_LARGE)
        # Trailers come when the request has been judged by its headers, and nothing here wants them.
        if self._parsing is Parsing.HEAD and not self._staying:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._staying:
            return
        version = self.parser.get_http_version()
        scope, method = self.scope, self.parser.get_method()
        check_head(version, method, self.headers)
        scope["method"] = method.decode("ascii")
        scope["http_version"] = version
        self._set_target()
        if self._asks_for_websocket(version, method):
            self._upgrading = True
            return
        self._offered = find_framing(self.headers) if self.parser.should_upgrade() else None
        self._parsing, self._lines, self._head = Parsing.BODY, 0, 0
        previous, now = self.cycle, self.loop.time()
        self.cycle = RequestResponseCycle(
            scope=scope,
            transport=_Parting(self.transport, self._part),
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue and version == "1.1",
            keep_alive=version == "1.1" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if previous is None or previous.response_complete:
            self._begin(self.cycle, self.app, now)
        elif len(self.pipeline) >= self._limits.pipelined:
            self.cycle = previous
            raise RequestRefused(MALFORMED)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _asks_for_websocket(self, version: str, method: bytes) -> bool:
        """Whether nothing but that is asked for, so that it need not be answered as a request."""
        idle = self._running is None and not self.pipeline and self.half_closed is None
        return (
            idle
            and self.parser.should_upgrade()
            and is_websocket_offer(version, method, self.headers)
            and self.url.isascii()
            and max(len(self.url), *(len(name) + len(value) for name, value in self.headers)) < LONGEST_LINE_BYTES
            and len(self.headers) <= MOST_HEADERS
        )

    def _begin(self, cycle: RequestResponseCycle, app: ASGI3Application, now: float) -> None:
        self._running, self._since, self._fed_at, self._body = cycle, now, now, len(cycle.body)
        self._start_asgi_task(cycle, app)

    def _set_target(self) -> None:
        target = read_target(self.url)
        if target.host is not None:
            self.headers[:] = [header for header in self.headers if header[0] != b"host"]
            self.headers.append((b"host", target.host))
        self.scope["raw_path"] = target.raw_path
        self.scope["path"] = target.path
        self.scope["query_string"] = target.query

    def on_body(self, body: bytes) -> None:
        self._fed = True
        self._body += len(body)
        self._fed_at = self.loop.time()
        if self.cycle.response_complete:
            self._discarded += len(body)
            if self._discarded > self._limits.linger_bytes:
                self._linger()
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._offered is not None or self._upgrading:
            return
        super().on_message_complete()
        self._parsing = Parsing.NOTHING
        if self._running is None:
            self._since = self.loop.time()

    # Answering.

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._running = None
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self._since, self._discarded = self.loop.time(), 0
        if self.pipeline:
            self._begin(*self.pipeline.pop(), self._since)

    def _part(self) -> None:
        """The last answer is written."""
        if self._parsing is Parsing.BODY and self.cycle.response_complete and self.half_closed is None:
            self._linger()
        else:
            self.transport.close()

    def _refuse(self, grounds: Grounds) -> None:
        """Answer what cannot be answered by a route, after what can."""
        cycle = self._running
        if cycle is None or cycle.response_complete:
            self.transport.write(write_refusal(grounds))
            self._linger()
        elif cycle is not self.cycle or not cycle.more_body:
            # An answer is under way, into which nothing may be written. What is behind it stays unanswered.
            self._refused = True
            if self.pipeline and self.pipeline[0][0].more_body:
                self.pipeline.popleft()
            last = self.pipeline[0][0] if self.pipeline else cycle
            last.keep_alive = False
            self.cycle = last
        elif cycle.response_started:
            self.transport.close()
        else:
            cycle.disconnected = True
            cycle.message_event.set()
            self.transport.write(write_refusal(grounds))
            self._linger()

    def _linger(self) -> None:
        self._refused, self._since, self._discarded = True, self.loop.time(), 0
        self._running = None
        self.pipeline.clear()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def shutdown(self) -> None:
        if self._running is None:
            self.transport.close()
        else:
            super().shutdown()

    # What the crowd asks, once in a while.

    @property
    def rank(self) -> tuple[int, float]:
        """The lowest makes room first."""
        if self._running is not None:
            return Rank.BUSY.value, self._since
        if self._refused:
            return Rank.REFUSED.value, self._since
        return (Rank.UNASKED if self._parsing is Parsing.HEAD else Rank.IDLE).value, self._since

    @property
    def is_busy(self) -> bool:
        return self._running is not None

    def make_room(self) -> None:
        self.transport.abort()

    def check(self, now: float) -> None:
        """Close it if it has had its time."""
        limits, waited = self._limits, now - self._since
        cycle = self._running
        if self._stalled.has_stalled(self.transport, now):
            self.transport.abort()
        elif cycle is not None:
            self._check_request(cycle, now)
        elif self._refused:
            if waited > limits.linger_seconds:
                self.transport.close()
        elif self._parsing is Parsing.HEAD:
            if waited > limits.head_seconds:
                self._refuse(TOO_SLOW)
        elif self._parsing is Parsing.BODY:
            if waited > limits.drain_seconds:
                self.transport.close()
        elif waited > (limits.head_seconds if self._fresh else limits.keep_alive_seconds):
            self.transport.close()

    def _check_request(self, cycle: RequestResponseCycle, now: float) -> None:
        if self.flow.read_paused:
            self._fed_at = now
            if self.half_closed is None and not cycle.more_body and has_ended(find_descriptor(self.transport)):
                self._note_end()
            return
        if cycle is not self.cycle or not cycle.more_body or cycle.response_started:
            return
        limits, waited = self._limits, now - self._since
        if now - self._fed_at > limits.body_seconds or (
            waited > limits.body_seconds and self._body < waited * limits.body_rate
        ):
            self._refuse(TOO_SLOW)

    def look_for_client(self, now: float) -> None:
        """Whether a client that has sent its last byte is there still; if not, its request is over."""
        if self.half_closed is not None:
            self.half_closed.look(self._running, now)


class _Parting(asyncio.Transport):
    """The transport as an answer sees it, whose close waits for what the client is still sending."""

    def __init__(self, transport: asyncio.Transport, part: Callable[[], None]) -> None:
        super().__init__()
        self.write: Any = transport.write
        self.is_closing = transport.is_closing  # type: ignore[method-assign]
        self.get_extra_info = transport.get_extra_info  # type: ignore[method-assign]
        self.close = part  # type: ignore[method-assign]
