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
    cdef EndpointState _picked

    @cython.locals(count=Py_ssize_t, turn=Py_ssize_t, _=Py_ssize_t, state=EndpointState)
    cpdef EndpointState pick(self, list tried)
