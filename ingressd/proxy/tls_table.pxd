cdef class ServerContext:
    cdef readonly object certificate
    cdef readonly object client_auth
    cdef readonly object context
    cdef readonly object keys
    cdef readonly object library
    cdef frozenset _exact
    cdef frozenset _wildcards

    cpdef bint covers(self, bytes host) except *
