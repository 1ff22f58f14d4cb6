cimport cython

from ingressd cimport octets
from ingressd.http1.head cimport RequestHead, ResponseHead
from ingressd.proxy.downstream cimport Downstream
from ingressd.telemetry.record cimport Record

cdef int NONE
cdef int LENGTH


@cython.final
cdef class Reply:
    cdef Downstream _downstream
    cdef Record _record
    cdef bytes _head
    cdef bint _chunked
    cdef readonly bint until_close

    @cython.locals(added=bytes)
    cpdef begin(
        self, Downstream downstream, Record record, RequestHead request, ResponseHead head, int framing, bint persist,
        bytes hsts
    )
    @cython.locals(size=Py_ssize_t, piece=bytes, data=bytes, record=Record)
    cpdef Py_ssize_t pass_on(self, list payload, bytes last=*) except -1
    cpdef Py_ssize_t end(self, list payload, bytes trailers) except -1


cdef bytes _without_body(RequestHead request, ResponseHead head)
