cimport cython

from ingressd.http1.head cimport RequestHead
from ingressd.routing.table cimport Decision
from ingressd.telemetry.record cimport Attempt, Record


cdef Py_ssize_t _WIDTH
cdef double[::1] _BOUNDS


cdef class Series:
    cdef public long long requests
    cdef double[::1] values

    @cython.locals(at=Py_ssize_t)
    cdef observe(self, Py_ssize_t which, double value)


cdef class RouteSeries:
    cdef readonly Decision decision
    cdef readonly bint counted
    cdef public dict series
    cdef public Series last
    cdef public bytes last_method
    cdef public int last_status


cdef class RequestMetrics:
    cdef list _touched

    @cython.locals(
        decision=Decision, head=RequestHead, route_series=RouteSeries, series=Series, attempt=Attempt,
    )
    cpdef add(self, Record record, double duration)
    @cython.locals(key=tuple, series=Series)
    cdef Series _find(self, RouteSeries route_series, bytes method, int status)
    @cython.locals(route_series=RouteSeries, series=Series)
    cpdef tuple take(self, Py_ssize_t routes)
