cimport cython

from ingressd.proxy.registry cimport EndpointState
from ingressd.proxy.upstream cimport Upstream


cdef class Pool:
    cdef double _idle
    cdef double _age
    cdef Py_ssize_t _limit
    cdef long long _requests
    cdef dict _order
    cdef dict _secured

    @cython.locals(idle=list, upstream=Upstream)
    cpdef Upstream take(self, EndpointState endpoint, double now, bint certain, object tls=*)
    @cython.locals(endpoint=EndpointState)
    cpdef list give(self, Upstream upstream, double now)
