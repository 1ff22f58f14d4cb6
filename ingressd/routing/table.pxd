cimport cython


cdef class Decision:
    cdef readonly str host
    cdef readonly object route
    cdef readonly object cluster
    cdef readonly object policy
    cdef readonly double connect_timeout
    cdef readonly double send_timeout
    cdef readonly double read_timeout
    cdef readonly int tries
    cdef readonly object https_redirect
    cdef readonly object upstream_tls
    cdef readonly bytes name
    cdef public object attachment
    cdef public object cluster_state


cdef class HostTable:
    cdef readonly dict exact
    cdef readonly dict prefixes
    cdef readonly Decision default
    cdef readonly Decision root
    cdef readonly Py_ssize_t depth

    @cython.locals(decision=Decision, p="const unsigned char*", length=Py_ssize_t, depth=Py_ssize_t, end=Py_ssize_t)
    cpdef Decision find(self, bytes path)


cdef class Table:
    cdef dict _hosts
    cdef dict _wildcards
    cdef HostTable _any
    cdef readonly Decision default

    cpdef HostTable exact_host(self, bytes host)
    @cython.locals(table=HostTable, decision=Decision, dot=Py_ssize_t)
    cpdef Decision lookup(self, bytes host, bytes path)
