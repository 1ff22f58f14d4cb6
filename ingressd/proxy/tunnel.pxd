cimport cython

from ingressd.proxy.context cimport Context
from ingressd.proxy.downstream cimport Downstream
from ingressd.proxy.upstream cimport Upstream
from ingressd.telemetry.record cimport Attempt, Record


cdef class Tunnel:
    cdef Context _context
    cdef Downstream _downstream
    cdef Upstream _upstream
    cdef Record _record
    cdef Attempt _attempt
    cdef bint _half_closed
    cdef readonly double idle_time

    cpdef up(self, bytes data)
    @cython.locals(size=Py_ssize_t)
    cpdef down(self, bytes data)
    cdef _touch(self)
