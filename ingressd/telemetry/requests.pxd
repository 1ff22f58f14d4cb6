cimport cython

from ingressd.http1.head cimport RequestHead
from ingressd.routing.table cimport Decision
from ingressd.telemetry.record cimport Attempt, Record


cdef class Series:
    cdef public long long requests
    cdef readonly list sums
    cdef readonly list buckets

    @cython.locals(bounds=tuple, bucket=Py_ssize_t, bound=double, counts=list)
    cpdef observe(self, Py_ssize_t which, double value)


cdef class RouteSeries:
    cdef readonly Decision decision
    cdef public dict series


cdef class RequestMetrics:
    cdef list _touched

    @cython.locals(
        decision=Decision, head=RequestHead, route_series=RouteSeries, series=Series, attempt=Attempt, method=bytes,
        attachment=object,
    )
    cpdef add(self, Record record, double duration)
