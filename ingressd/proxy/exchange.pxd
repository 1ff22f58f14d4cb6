cimport cython

from ingressd cimport octets
from ingressd.http1.body cimport Body
from ingressd.http1.head cimport RequestHead, ResponseHead
from ingressd.proxy.context cimport Context
from ingressd.proxy.downstream cimport Downstream
from ingressd.proxy.forwarded cimport untrusted_fields
from ingressd.proxy.registry cimport ClusterState, EndpointState
from ingressd.proxy.reply cimport Reply
from ingressd.proxy.request_body cimport RequestBody, body_of
from ingressd.proxy.tunnel cimport Tunnel
from ingressd.proxy.upstream cimport Upstream
from ingressd.routing.table cimport Decision
from ingressd.telemetry.record cimport Attempt, Record, new_attempt

cdef bytes GET
cdef int MAX_INTERIM


cdef class Exchange:
    cdef Context _context
    cdef Downstream _downstream
    cdef RequestHead _head
    cdef Record _record
    cdef Decision _decision
    cdef ClusterState _cluster
    cdef list _unreachable
    cdef Upstream _upstream
    cdef Attempt _attempt
    cdef double _attempt_started
    cdef bytes _request
    cdef Reply _reply
    cdef RequestBody _body
    cdef int _interim
    cdef bint _persist
    cdef bint _over
    cdef readonly bint request_done
    cdef readonly bint responded_to
    cdef readonly bint head_only
    cdef readonly Tunnel tunnel

    cpdef begin(self, Context context, Downstream downstream, RequestHead head, Record record)
    @cython.locals(body=RequestBody, end=Py_ssize_t, encoded=bytes, upstream=Upstream)
    cpdef Py_ssize_t receive(self, bytes data, Py_ssize_t start) except? -2
    @cython.locals(
        head=RequestHead, record=Record, downstream=Downstream, added=bytes,
    )
    cpdef start(self)
    @cython.locals(context=Context, cluster=ClusterState, endpoint=EndpointState, attempt=Attempt, upstream=Upstream)
    cdef bint _try(self, EndpointState last, bint fresh) except -1
    @cython.locals(body=RequestBody, body_so_far=bytes)
    cdef _attach(self, Upstream upstream)
    cpdef bint wants_data(self)
    @cython.locals(context=Context, downstream=Downstream, persist=bint, hsts=bytes, reply=Reply)
    cpdef responded(self, ResponseHead head, Body body)
    @cython.locals(attempt=Attempt, upstream=Upstream)
    cdef _note_head(self, int status)
    @cython.locals(upstream=Upstream, attempt=Attempt, reply=Reply, size=Py_ssize_t)
    cpdef response_data(self, list payload)
    cpdef upstream_full(self)
    cpdef upstream_drained(self)
    cpdef client_full(self)
    cpdef client_drained(self)
    @cython.locals(upstream=Upstream, attempt=Attempt, reply=Reply, size=Py_ssize_t)
    cpdef response_done(self, list payload, bytes trailers, bint reusable)
    @cython.locals(upstream=Upstream)
    cdef _drop_upstream(self)
    @cython.locals(attempt=Attempt)
    cdef _close_attempt(self)
    @cython.locals(context=Context)
    cdef _finish(self)
    cpdef double connect_time(self) except? -1
    cpdef double send_time(self) except? -1
    cpdef double read_time(self) except? -1
