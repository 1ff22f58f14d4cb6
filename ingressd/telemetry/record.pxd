cimport cython

from ingressd.http1.head cimport RequestHead
from ingressd.routing.table cimport Decision


@cython.final
@cython.no_gc
cdef class Attempt:
    cdef readonly bytes address
    cdef public double connect_time
    cdef public double header_time
    cdef public double response_time
    cdef public long long response_length
    cdef public int status

    cpdef begin(self, bytes address)


@cython.final
@cython.no_gc
cdef class Record:
    cdef public RequestHead head
    cdef public Decision decision
    cdef public bytes remote_address
    cdef public bytes request_id
    cdef public double started
    cdef public long long request_length
    cdef public int status
    cdef public str reason
    cdef public long long bytes_sent
    cdef public long long body_bytes_sent
    cdef public list attempts

    cpdef begin(self, bytes remote_address, double started)


@cython.locals(attempt=Attempt)
cpdef Attempt new_attempt(bytes address)
@cython.locals(record=Record)
cpdef Record new_record(bytes remote_address, double started)
