cimport cython

from ingressd.http1.chunked cimport ChunkedDecoder


@cython.final
@cython.no_gc
cdef class Body:
    cdef readonly int framing
    cdef readonly bint done
    cdef long long _remaining
    cdef ChunkedDecoder _decoder

    cpdef begin(self, int framing, long long length)
    @cython.locals(length=Py_ssize_t, end=Py_ssize_t, p="const unsigned char*")
    cpdef Py_ssize_t feed(self, bytes data, Py_ssize_t start, list payload) except? -2


@cython.locals(body=Body)
cpdef Body new_body(int framing, long long length)
