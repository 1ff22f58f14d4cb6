cimport cython


cdef class EndpointState:
    cdef readonly object endpoint
    cdef readonly bytes text
    cdef readonly list idle
    cdef public Py_ssize_t references


cdef class ClusterState:
    cdef readonly list endpoints
    cdef Py_ssize_t _offset
    cdef Py_ssize_t _next
    cdef Py_ssize_t _again
    cdef EndpointState _picked

    @cython.locals(turn=Py_ssize_t)
    cpdef EndpointState pick(self)
    cpdef EndpointState pick_again(self, EndpointState last, list unreachable)
