cimport cython

from ingressd.http1.fields cimport Trailers

cdef int MAX_CHUNK_EXTENSIONS
cdef int MAX_HEAD
cdef int MAX_SIZE_DIGITS
cdef int _SIZE
cdef int _EXTENSIONS
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
    cdef bytes _extensions
    cdef Trailers _trailers
    cdef bytes _section

    @cython.locals(
        p="const unsigned char*", length=Py_ssize_t, i=Py_ssize_t, state=int, take=Py_ssize_t, byte=int, digit=int,
    )
    cpdef Py_ssize_t feed(self, bytes data, Py_ssize_t start, list payload) except -2
    @cython.locals(end=Py_ssize_t)
    cdef Py_ssize_t _feed_extensions(self, bytes data, Py_ssize_t start) except -2
    @cython.locals(before=Py_ssize_t, end=Py_ssize_t)
    cdef Py_ssize_t _feed_trailers(self, bytes data, Py_ssize_t start) except -2


@cython.locals(size=Py_ssize_t, piece=bytes)
cpdef bytes encode_chunk(list payload)
cpdef bytes encode_last_chunk(bytes trailers)
