cimport cython

cdef int _SIZE
cdef int _EXTENSION
cdef int _SIZE_LF
cdef int _DATA
cdef int _DATA_CR
cdef int _DATA_LF
cdef int _TRAILERS
cdef int _DONE


cdef class ChunkedDecoder:
    cdef readonly bint done
    cdef readonly bytes trailers
    cdef int _state
    cdef long long _remaining
    cdef int _digits
    cdef int _extension
    cdef bytes _trailers

    @cython.locals(
        p="const unsigned char*", valid="const unsigned char*", length=Py_ssize_t, i=Py_ssize_t, state=int,
        take=Py_ssize_t, byte=int, digit=int,
    )
    cpdef Py_ssize_t feed(self, bytes data, Py_ssize_t start, list payload) except? -2
    cdef Py_ssize_t _feed_trailers(self, bytes data, Py_ssize_t start) except? -2


@cython.locals(size=Py_ssize_t, piece=bytes)
cpdef bytes encode_chunk(list payload)
cpdef bytes encode_last_chunk(bytes trailers)
