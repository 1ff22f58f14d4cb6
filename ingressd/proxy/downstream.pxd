cimport cython

from ingressd.http1.head cimport RequestHead, request_head
from ingressd.proxy.context cimport Context
from ingressd.proxy.exchange cimport Exchange
from ingressd.proxy.forwarded cimport client_fields
from ingressd.telemetry.record cimport Record, new_record


cdef Py_ssize_t PIPELINE
cdef int TURNS


cdef class Downstream:
    cdef Context _context
    cdef readonly bytes scheme
    cdef readonly int port
    cdef readonly object transport
    cdef readonly bytes peer
    cdef readonly bytes client_fields
    cdef readonly object secured
    cdef bint _trusted
    cdef int _turns
    cdef Exchange _exchange
    cdef RequestHead _head
    cdef bytes _buffer
    cdef Py_ssize_t _offset
    cdef double _started
    cdef bint _advancing
    cdef bint _held
    cdef bint _closing
    cdef double _deadline
    cdef double _linger_until
    cdef bint _write_paused
    cdef bint _yielded
    cdef double _write_deadline
    cdef Py_ssize_t _unsent

    @cython.locals(exchange=Exchange)
    cpdef data_received(self, bytes data)
    @cython.locals(unsent=Py_ssize_t, exchange=Exchange)
    cpdef check(self, double now)
    cdef bint _unsent_moves(self) except -1
    cdef _keep(self, bytes data)
    @cython.locals(
        context=Context, buffer=bytes, start=Py_ssize_t, head=RequestHead, end=Py_ssize_t, record=Record,
        exchange=Exchange,
    )
    cdef _advance(self)
    cdef _await_body(self, Exchange exchange)
    @cython.locals(end=Py_ssize_t)
    cdef _receive_body(self, Exchange exchange, bytes data)
    @cython.locals(context=Context)
    cpdef exchange_over(self, bint persist, bint request_done)
    cpdef write(self, bytes data)
    cpdef hold(self)
    cpdef resume(self)
    @cython.locals(now=double)
    cdef _close(self, bint linger=*)
