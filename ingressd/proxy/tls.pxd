cimport cython

cdef int MAX_RECORD
cdef int PIECE


cdef class TlsTransport:
    cdef readonly object loop
    cdef readonly object tcp
    cdef public object app
    cdef readonly object connection
    cdef object _engine
    cdef object _incoming
    cdef object _outgoing
    cdef public bint established
    cdef bytes _raw
    cdef bint _more
    cdef bint _held
    cdef bint _ended
    cdef public bint _notified
    cdef bint _eof
    cdef public bint _closing
    cdef bint _lost
    cdef Py_ssize_t _late
    cdef Py_ssize_t _overhead

    @cython.locals(at=Py_ssize_t)
    cpdef handshake(self, bytes data)
    cpdef bint answers_late(self) except *
    cpdef handshake_done(self)
    cpdef data_received(self, bytes data)
    @cython.locals(size=Py_ssize_t, at=Py_ssize_t, plain=bytes)
    cdef _decrypt(self, bytes data)
    @cython.locals(size=Py_ssize_t, at=Py_ssize_t, record=bytes, joined=bytes)
    cpdef write(self, bytes data)
    @cython.locals(record=bytes)
    cdef _flush(self)
