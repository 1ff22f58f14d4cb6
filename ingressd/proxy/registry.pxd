cimport cython


cdef class EndpointState:
    cdef readonly object endpoint
    cdef readonly bytes text
    cdef readonly list idle
    cdef public Py_ssize_t references
    cdef readonly list clusters
    cdef object _ejector
    cdef public Py_ssize_t failures
    cdef public int standing
    cdef public double until
    cdef public int ejections
    cdef public double back_since

    cpdef failed(self)
    cpdef unreachable(self, error)
    cpdef answered(self, int status)


cdef class ClusterState:
    cdef readonly object key
    cdef readonly list endpoints
    cdef public bint gone
    cdef readonly bint panicking
    cdef Py_ssize_t _offset
    cdef object _ejector
    cdef double _share
    cdef object _unhealthy
    cdef double _window
    cdef list _available
    cdef list _round
    cdef dict _returned
    cdef dict _steps
    cdef list _trials
    cdef Py_ssize_t _next
    cdef Py_ssize_t _again
    cdef EndpointState _picked

    @cython.locals(turn=Py_ssize_t)
    cpdef EndpointState pick(self, bint repeatable=*)
    cdef EndpointState _try(self)
    cpdef EndpointState pick_again(self, EndpointState last, list unreachable)
    @cython.locals(turn=Py_ssize_t, count=Py_ssize_t, only=EndpointState, state=EndpointState)
    cdef EndpointState _pick_again(self, list endpoints, EndpointState last, list unreachable)
