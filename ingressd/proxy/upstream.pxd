cimport cython

from ingressd.http1.body cimport Body, new_body
from ingressd.http1.head cimport ResponseHead, response_head
from ingressd.proxy.context cimport Context
from ingressd.proxy.exchange cimport Exchange
from ingressd.proxy.registry cimport EndpointState

cdef int NONE
cdef int LENGTH
cdef int CHUNKED
cdef int UNTIL_CLOSE


cdef class Upstream:
    cdef Context _context
    cdef readonly EndpointState endpoint
    cdef readonly object tls
    cdef object _socket
    cdef readonly object transport
    cdef readonly Exchange exchange
    cdef readonly double born
    cdef public double idle_since
    cdef public double deadline
    cdef readonly long long requests
    cdef readonly long long written
    cdef readonly bint closed
    cdef bytes _buffer
    cdef ResponseHead _head
    cdef Body _body
    cdef bint _eof
    cdef bint _doubtful
    cdef bint _held
    cdef readonly bint full
    cdef Py_ssize_t _unsent

    @cython.locals(exchange=Exchange)
    cpdef data_received(self, bytes data)
    cpdef begin(self, Exchange exchange)
    cpdef write(self, bytes data)
    cpdef hold(self)
    cpdef resume(self)
    @cython.locals(context=Context, surplus=Upstream)
    cpdef release(self)
    cpdef close(self)
    cpdef abort(self)
    cpdef bint stale(self)
    @cython.locals(unsent=Py_ssize_t, exchange=Exchange, must_take=bint)
    cpdef check(self, double now)
    @cython.locals(buffer=bytes, head=ResponseHead, body=Body, end=Py_ssize_t, status=int)
    cdef _read_head(self, Exchange exchange, bytes data)
    @cython.locals(end=Py_ssize_t, head=ResponseHead, payload=list)
    cdef _read_body(self, Exchange exchange, bytes data, Py_ssize_t start, Body body)
