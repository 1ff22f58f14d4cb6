cimport cython

from ingressd.http1.head cimport RequestHead
from ingressd cimport octets
from ingressd.routing.table cimport Decision
from ingressd.telemetry.record cimport Attempt, Record


@cython.locals(plain="const unsigned char*", byte="unsigned char")
cpdef bytes escape(bytes value)
cdef bytes _PRINTABLE
cdef list _NUMBERS
cdef list _MILLISECONDS
cdef bytes _number(long long value)
@cython.locals(milliseconds="long long")
cdef bytes _seconds(double value)
cdef bytes _status(Attempt attempt)


cdef class AccessLog:
    cdef bint _json
    cdef readonly bint enabled
    cdef public bytes time

    cpdef bytes line(self, Record record, double duration)
    @cython.locals(
        head=RequestHead, decision=Decision, attempt=Attempt, upstream_name=bytes, user=bytes, request=bytes,
        referer=bytes, agent=bytes, request_id=bytes, address=bytes, length=bytes, time=bytes, status=bytes,
    )
    cdef bytes _as_text(self, Record record, double duration)
