cimport cython

from ingressd.proxy.registry cimport EndpointState


cdef class Pool:
    cdef double _idle
    cdef double _age
    cdef Py_ssize_t _limit
    cdef long long _requests
    cdef dict _order

    @cython.locals(idle=list)
    cpdef object take(self, EndpointState endpoint, double now, bint certain)
    @cython.locals(endpoint=EndpointState)
    cpdef list give(self, object upstream, double now)
