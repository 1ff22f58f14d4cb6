from ingressd.proxy.tls cimport TlsTransport


cdef class TlsServer(TlsTransport):
    cdef str _address
    cdef object _entry
    cdef object _gate
    cdef bytes _hello
    cdef int _port
    cdef object _secured
    cdef bytes _ticket_name
