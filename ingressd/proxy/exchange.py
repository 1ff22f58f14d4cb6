"""One request and its response.

Theory of operation. The downstream connection makes an exchange when a request head is complete, feeds it what follows
(`receive`), and gets it back by `Downstream.exchange_over`. In between the exchange has the request admitted
(`admission`), finds an endpoint and a connection (from the pool, or a new one by way of a task), sends the request, and
passes the response on as it arrives (`reply`). Nothing here waits: every method is called by a connection that has
something to say, decides, and returns.

Rules of this file:
- Until the first byte of a response has been seen, a failed attempt may be followed by another: with any method if
  nothing can have reached the endpoint, with idempotent ones (RFC 9110 section 9.2.2) if all of the body so far is
  still here. After it, never.
- `_over` is set once, by `_finish`; a connection that speaks later is not listened to.
- Memory is bounded: a side that does not keep up stops the other side's reading.
"""

from typing import TYPE_CHECKING

from ingressd import octets
from ingressd.aio import spawn
from ingressd.http1.body import Body
from ingressd.http1.errors import FramingError
from ingressd.http1.grammar import GET
from ingressd.http1.head import RequestHead, ResponseHead
from ingressd.proxy.context import Context
from ingressd.proxy.forwarded import trusted_fields, untrusted_fields
from ingressd.proxy.opening import open_upstream
from ingressd.proxy.registry import ClusterState, EndpointState
from ingressd.proxy.reply import Reply
from ingressd.proxy.request_body import body_of
from ingressd.proxy.responses import (
    CLIENT_CLOSED,
    CONNECT_FAILED,
    CONNECT_TIMEOUT,
    NO_ENDPOINT,
    STATUS,
    TUNNEL_TIMEOUT,
    UPSTREAM_CLOSED,
    UPSTREAM_TIMEOUT,
    Answer,
    failure,
    render,
)
from ingressd.proxy.tls_client import TlsFailed
from ingressd.proxy.tunnel import Tunnel
from ingressd.proxy.upstream import Upstream
from ingressd.routing.table import Decision
from ingressd.telemetry.record import Attempt, Record, new_attempt

if TYPE_CHECKING:
    from ingressd.proxy.downstream import Downstream

BAD_REQUEST_STATUS = 400
"""Who cannot be understood once is not listened to again: the connection is closed."""

LASTING = 1.0
"""Seconds that a response goes on behind its head to speak for the endpoint before it is complete: some never are."""

MAX_INTERIM = 100
"""Interim responses to one request; Go's client up to 1.22: 5. An upstream that sends more may never end."""


class Exchange:
    """See above. Times in seconds of the loop's clock."""

    __slots__ = (
        "_attempt",
        "_attempt_started",
        "_body",
        "_cluster",
        "_context",
        "_decision",
        "_downstream",
        "_head",
        "_interim",
        "_over",
        "_persist",
        "_record",
        "_reply",
        "_request",
        "_unreachable",
        "_upstream",
        "head_only",
        "request_done",
        "responded_to",
        "tunnel",
    )

    def begin(self, context: Context, downstream: "Downstream", head: RequestHead, record: Record) -> None:
        """What comes first: `downstream` has received a whole head."""
        self._context = context
        self._downstream = downstream
        self._head = head
        self._record = record
        self._decision: Decision | None = None
        self._cluster: ClusterState | None = None
        self._unreachable: list[EndpointState] | None = None
        """Endpoints that accepted no connection."""
        self._upstream: Upstream | None = None
        self._attempt: Attempt | None = None
        self._attempt_started = 0.0
        self._request = b""
        """The head as sent upstream."""
        self._reply: Reply | None = None
        """The response, once there is one of an upstream that is not interim."""
        self._body = body_of(head)
        self.request_done = self._body.done
        """The whole request has been received."""
        self.responded_to = False
        self._interim = 0
        """How many 1xx responses there were."""
        self._persist = False
        self._over = False
        self.head_only = head.method is not GET and head.method == b"HEAD"
        self.tunnel: Tunnel | None = None
        """After 101 Switching Protocols."""

    # --- the request

    def receive(self, data: bytes, start: int) -> int:
        """Takes what belongs to the request body from `data`. Returns the offset behind it. Raises FramingError."""
        body = self._body
        end, encoded = body.feed(data, start)
        self._record.request_length += end - start
        self.request_done = body.done
        upstream = self._upstream
        if upstream is not None:
            if encoded:
                upstream.write(encoded)
                body.sent()
            if body.done or self.responded_to:
                upstream.deadline = self._context.now + self.read_time()
        return end

    def start(self) -> None:
        """Finds the route and makes the first attempt."""
        head = self._head
        record = self._record
        downstream = self._downstream
        decision = self._context.admission.decide(head, record, downstream.scheme, downstream.secured)
        if not isinstance(decision, Decision):
            self.respond(decision)
            return
        self._decision = decision
        self._cluster = decision.cluster_state
        if head.trusted:
            real = record.remote_address
            added = trusted_fields(head, downstream.peer, real, downstream.scheme, downstream.port, record.request_id)
        else:
            added = untrusted_fields(head, downstream.client_fields, record.request_id)
        if downstream.secured is not None and downstream.secured.context.client_auth is not None:
            added += downstream.secured.fields()
        self._request = head.forward(added)
        if not self._try(None, False):
            self.respond(failure(NO_ENDPOINT))

    def _try(self, last: EndpointState | None, fresh: bool) -> bool:
        """Makes an attempt, after one on `last` that failed; `fresh` on a new connection. False without an endpoint."""
        context = self._context
        cluster = self._cluster
        if cluster is None:
            return False
        endpoint = (
            cluster.pick(self._head.idempotent) if last is None else cluster.pick_again(last, self._unreachable or [])
        )
        if endpoint is None:
            return False
        attempt = new_attempt(endpoint.text)
        self._record.attempts.append(attempt)
        self._attempt = attempt
        self._attempt_started = context.moment
        if not fresh:
            # A request that cannot be repeated must not go out on a connection that is closed already.
            policy = self._decision.upstream_tls if self._decision is not None else None
            if policy is None:
                upstream = context.pool.take(endpoint, context.now, not self._head.idempotent)
            else:
                tls = context.tls.upstream_context(policy)
                certain = not self._head.idempotent
                upstream = context.pool.take(endpoint, context.now, certain, tls) if tls is not None else None
            if upstream is not None:
                context.counters.upstream_reused += 1
                attempt.connect_time = 0.0
                self._attach(upstream)
                return True
        spawn(self._connect(endpoint), "connect to upstream")
        return True

    async def _connect(self, endpoint: EndpointState) -> None:
        context = self._context
        try:
            policy = self._decision.upstream_tls if self._decision is not None else None
            upstream = await open_upstream(context, endpoint, self.connect_time(), policy)
        except OSError as error:
            context.look()
            if isinstance(error, TlsFailed) and error.ours:
                # No endpoint is at fault, and none would do better.
                if not self._over:
                    self._fail_attempt(error.reason)
                    self.respond(failure(error.reason))
                return
            context.counters.connect_failures += 1
            endpoint.unreachable(error)
            if not self._over:
                reason = CONNECT_TIMEOUT if isinstance(error, TimeoutError) else CONNECT_FAILED
                self._connect_failed(endpoint, error.reason if isinstance(error, TlsFailed) else reason)
            return
        context.look()
        context.counters.upstream_connections += 1
        if self._over:
            upstream.release()
            return
        if self._attempt is not None:
            self._attempt.connect_time = context.moment - self._attempt_started
        self._attach(upstream)

    def _connect_failed(self, endpoint: EndpointState, reason: str) -> None:
        """Nothing was sent, so any method may go to another endpoint; but not to the one that just failed."""
        self._fail_attempt(reason)
        if self._unreachable is None:
            self._unreachable = []
        self._unreachable.append(endpoint)
        if len(self._record.attempts) < self.tries() and self._try(endpoint, False):
            self._context.counters.retries += 1
            return
        self.respond(failure(reason))

    def _attach(self, upstream: Upstream) -> None:
        self._upstream = upstream
        upstream.begin(self)
        body = self._body
        body_so_far = body.begin()
        upstream.write(octets.join([self._request, body_so_far]) if body_so_far else self._request)
        body.sent()
        if self.request_done:
            upstream.deadline = self._context.now + self.read_time()
        if not upstream.full:
            self._downstream.resume()

    @property
    def idempotent(self) -> bool:
        """Whether the request may be sent twice."""
        return self._head.idempotent

    def wants_data(self) -> bool:
        """Whether there is somewhere to put more of the request body."""
        return self._upstream is not None and not self._upstream.full

    # --- what the upstream tells

    def interim(self, head: ResponseHead) -> None:
        """A 1xx response (RFC 9110 section 15.2). HTTP/1.0 has none. Raises FramingError when there are too many."""
        if self._over:
            return
        self._interim += 1
        if self._interim > MAX_INTERIM:
            raise FramingError("too many interim responses")
        if self._head.minor > 0:
            data = head.forward(b"")
            self._record.bytes_sent += len(data)
            self._downstream.write(data)

    def responded(self, head: ResponseHead, body: Body) -> None:
        """The head of the response is there; its body follows."""
        if self._over:
            return
        context = self._context
        downstream = self._downstream
        self.responded_to = True
        self._note_head(head.status)
        if not self.request_done and self._upstream is not None:
            # From here on the client is not pressed for the rest of its request.
            self._upstream.deadline = context.now + self.read_time()
        # The client may be sending a body nobody reads any more: then this connection has no future.
        persist = self._head.persists() and self.request_done and not context.draining
        hsts = context.hsts if downstream.secured is not None else b""
        reply = Reply.__new__(Reply)
        reply.begin(downstream, self._record, self._head, head, body.framing, persist, hsts)
        self._reply = reply
        self._persist = persist and not reply.until_close

    def _note_head(self, status: int) -> None:
        self._record.status = status
        attempt = self._attempt
        if attempt is not None:
            attempt.status = status
            attempt.header_time = self._context.moment - self._attempt_started
        upstream = self._upstream
        if upstream is not None and (502 <= status <= 504 or (status == 101 and upstream.endpoint.failures)):
            upstream.endpoint.answered(status)

    @property
    def _failing(self) -> bool:
        """Whether the head of the response has been held against the endpoint."""
        return self.responded_to and 502 <= self._record.status <= 504

    def _proved(self, upstream: Upstream) -> None:
        """An endpoint that has failed before has given more than a head, which may be all that it gives."""
        if not self._failing:
            upstream.endpoint.answered(self._record.status)

    def response_data(self, payload: list[bytes]) -> None:
        """More of the response body."""
        if self._over:
            return
        upstream = self._upstream
        attempt = self._attempt
        if (
            upstream is not None
            and upstream.endpoint.failures
            and attempt is not None
            and self._context.moment - self._attempt_started >= attempt.header_time + LASTING
        ):
            self._proved(upstream)
        reply = self._reply
        if reply is not None:
            size = reply.pass_on(payload)
            if attempt is not None:
                attempt.response_length += size

    def response_done(self, payload: list[bytes], trailers: bytes, reusable: bool) -> None:
        """The last of the response body. `reusable`: the upstream connection may serve another exchange."""
        if self._over:
            return
        reply = self._reply
        attempt = self._attempt
        if reply is not None:
            size = reply.end(payload, trailers)
            if attempt is not None:
                attempt.response_length += size
        self._close_attempt()
        upstream = self._upstream
        self._upstream = None
        if upstream is not None:
            if upstream.endpoint.failures:
                self._proved(upstream)
            if reusable and self.request_done:
                upstream.release()
            else:
                upstream.abort()
        self._finish()

    def upstream_failed(self, upstream: Upstream, reason: str, detail: str, nothing_sent: bool) -> None:
        """The upstream closed, timed out or broke the rules before its response was complete."""
        if self._over or upstream is not self._upstream:
            return
        self._upstream = None
        upstream.abort()
        self._fail_attempt(reason)
        if self.tunnel is not None:
            if reason == UPSTREAM_CLOSED:
                self._cut()
            else:
                self._record.reason = TUNNEL_TIMEOUT
                self._finish()
            return
        if self._to_blame(upstream, reason):
            upstream.endpoint.failed()
        if self.responded_to:
            if self._reply is not None and self._reply.unsent:
                # Nothing of it has gone to the client yet.
                self.respond(failure(reason, detail))
                return
            # The client must not take what it has for the whole.
            self._record.reason = reason
            self._cut()
            return
        if (
            reason == UPSTREAM_CLOSED
            and not upstream.responding
            and self._may_repeat(nothing_sent)
            and self._try(upstream.endpoint, True)
        ):
            self._context.counters.retries += 1
            return
        self.respond(failure(reason, detail))

    def _to_blame(self, upstream: Upstream, reason: str) -> bool:
        """Whether a failure counts against the endpoint. Not if this request counts already, nor if it has closed an
        idle connection just as a request was on its way, nor if it may be waiting for the rest of the request."""
        if reason == UPSTREAM_CLOSED:
            at_fault = upstream.responding or upstream.requests == 1
        else:
            at_fault = reason != UPSTREAM_TIMEOUT or self.request_done
        return at_fault and not self._failing

    def _may_repeat(self, nothing_sent: bool) -> bool:
        return (
            len(self._record.attempts) < self.tries()
            and (nothing_sent or self._head.idempotent)
            and not self._body.lost
            and self._interim == 0
        )

    def upstream_full(self) -> None:
        """The upstream does not keep up with the request, or the tunnel."""
        self._downstream.hold()

    def upstream_drained(self) -> None:
        """It does again."""
        if self._upstream is not None and (self.request_done or self.responded_to):
            self._upstream.deadline = self._context.now + self.read_time()
        self._downstream.resume()

    # --- what the client does

    def client_full(self) -> None:
        """The client does not keep up with the response, or the tunnel."""
        if self._upstream is not None:
            self._upstream.hold()

    def client_drained(self) -> None:
        """It does again."""
        if self._upstream is not None:
            self._upstream.resume()

    def client_gone(self, reason: str) -> None:
        """The client connection is closed, or must be: nobody is there to answer."""
        if self._over:
            return
        record = self._record
        if self.tunnel is None:
            record.reason = reason
            if not self.responded_to:
                record.status = STATUS[CLIENT_CLOSED]
        self._close_attempt()
        upstream = self._upstream
        if self.tunnel is not None and upstream is not None:
            upstream.cut()
        self._drop_upstream()
        self._cut()

    # --- tunnels

    def switch(self, head: ResponseHead, rest: bytes) -> bool:
        """101 Switching Protocols (RFC 9110 section 7.8). False if nobody asked for it."""
        upstream = self._upstream
        attempt = self._attempt
        if upstream is None or attempt is None or not self._head.upgrade or not head.upgrade or not self.request_done:
            return False
        self.responded_to = True
        self._note_head(101)
        context = self._context
        context.tunnels += 1
        context.counters.tunnels += 1
        data = head.forward(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % head.upgrade)
        self._record.bytes_sent += len(data)
        self._downstream.write(data)
        self.tunnel = Tunnel(context, self._downstream, upstream, self._record, attempt)
        if rest:
            self.tunnel.down(rest)
        self._downstream.tunnelled()
        return True

    def client_half_closed(self) -> None:
        """The client has ended its direction of the tunnel."""
        if self.tunnel is not None and self.tunnel.client_ended():
            self._end_tunnel()

    def upstream_half_closed(self) -> None:
        """The endpoint has."""
        if self.tunnel is not None and self.tunnel.upstream_ended():
            self._end_tunnel()

    def _end_tunnel(self) -> None:
        self._close_attempt()
        upstream = self._upstream
        self._upstream = None
        if upstream is not None:
            upstream.close()
        self._finish()

    # --- the end

    def respond(self, answer: Answer) -> None:
        """Answers in place of an upstream."""
        self._close_attempt()
        self._drop_upstream()
        record = self._record
        head = self._head
        record.reason = answer.reason
        record.status = answer.status
        self._persist = (
            head.persists() and self.request_done and not self._context.draining and record.status != BAD_REQUEST_STATUS
        )
        connection = b"" if self._persist else b"Connection: close\r\n"
        if self._persist and head.minor == 0:
            connection = b"Connection: keep-alive\r\n"
        if self._downstream.secured is not None:
            connection += self._context.hsts
        data, length = render(answer, record.request_id, head.accept, connection, self.head_only)
        record.bytes_sent += len(data)
        record.body_bytes_sent += length
        self._downstream.write(data)
        self._finish()

    def refuse(self, reason: str, detail: str) -> None:
        """The client breaks the rules with its body, or takes too long over it."""
        if self._over:
            return
        if self.responded_to:
            self._record.reason = reason
            self._close_attempt()
            self._drop_upstream()
            self._cut()
        else:
            self.respond(failure(reason, detail))

    def _drop_upstream(self) -> None:
        upstream = self._upstream
        self._upstream = None
        if upstream is not None:
            upstream.abort()

    def _close_attempt(self) -> None:
        attempt = self._attempt
        if attempt is not None:
            attempt.response_time = self._context.moment - self._attempt_started

    def _fail_attempt(self, reason: str) -> None:
        """Without a response, an attempt counts with the status that its failure leads to, as in nginx."""
        self._close_attempt()
        if self._attempt is not None and not self._attempt.status:
            self._attempt.status = STATUS[reason]

    def _cut(self) -> None:
        """Ends without a complete response, so that the client sees that it is not: by its framing, or by a reset where
        that says nothing. A reset also destroys what is on its way of responses before, so it is the exception."""
        self._persist = False
        if self.tunnel is not None or (self._reply is not None and self._reply.until_close):
            self._downstream.cut()
        self._finish()

    def _finish(self) -> None:
        self._over = True
        context = self._context
        if self.tunnel is not None:
            context.tunnels -= 1
            self._persist = False
        context.finished(self._record)
        self._downstream.exchange_over(self._persist, self.request_done)

    # --- the policy of the route, before there is one and after

    def connect_time(self) -> float:
        """Seconds for a connection to stand."""
        return self._decision.connect_timeout if self._decision is not None else 0.0

    def send_time(self) -> float:
        """Seconds between two writes the upstream accepts."""
        if self.tunnel is not None:
            return self.tunnel.idle_time
        return self._decision.send_timeout if self._decision is not None else 0.0

    def read_time(self) -> float:
        """Seconds between two reads of the response."""
        if self.tunnel is not None:
            return self.tunnel.idle_time
        return self._decision.read_timeout if self._decision is not None else 0.0

    def tries(self) -> int:
        """How many attempts there may be in all."""
        return self._decision.tries if self._decision is not None else 0
