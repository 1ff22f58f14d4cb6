from ingressd.proxy.tls cimport TlsTransport


cdef class TlsServer(TlsTransport):
    cdef str _address
    cdef object _entry
    cdef object _gate
    cdef bytes _hello
    cdef int _port
    cdef object _secured
    cdef bytes _ticket_name

    cpdef data_received(self, bytes data)
    cpdef handshake(self, bytes data)
    cpdef bint answers_late(self) except *
    cpdef handshake_done(self)
    cpdef first_step(self)
    cdef _take_verdict(self)
