cimport cython

from ingressd.http1.body cimport Body
from ingressd.http1.head cimport RequestHead

cdef int NONE
cdef int LENGTH
cdef int CHUNKED


cdef class RequestBody:
    cdef Body _body
    cdef list _kept
    cdef Py_ssize_t _size
    cdef readonly bint done
    cdef readonly bint lost

    @cython.locals(payload=list, body=Body, end=Py_ssize_t, encoded=bytes)
    cpdef tuple feed(self, bytes data, Py_ssize_t start)
    cpdef bytes begin(self)
    cpdef sent(self)


cpdef RequestBody body_of(RequestHead head)
