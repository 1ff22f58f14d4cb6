cdef class Preface:
    cdef object _gate
    cdef int _port
    cdef bint _secure
    cdef object _transport
    cdef str _address
    cdef bint _expects_header
    cdef bytes _buffer
