cimport cython

from ingressd.proxy.admission cimport Admission
from ingressd.proxy.pool cimport Pool
from ingressd.routing.table cimport Table
from ingressd.telemetry.accesslog cimport AccessLog
from ingressd.telemetry.logwriter cimport LogWriter
from ingressd.telemetry.record cimport Record
from ingressd.telemetry.requests cimport RequestMetrics


cdef Py_ssize_t ID_BYTES


cdef class Counters:
    cdef public long long connections
    cdef public long long connections_refused
    cdef public long long requests
    cdef public long long upstream_connections
    cdef public long long upstream_reused
    cdef public long long connect_failures
    cdef public long long retries
    cdef public long long tunnels
    cdef public dict errors


cdef class Context:
    cdef readonly object settings
    cdef readonly double client_header
    cdef readonly double client_body
    cdef readonly double keep_alive
    cdef readonly object loop
    cdef readonly object poller
    cdef public double now
    cdef readonly Table table
    cdef readonly object registry
    cdef readonly object tls
    cdef readonly bytes hsts
    cdef readonly Pool pool
    cdef readonly Admission admission
    cdef readonly AccessLog access_log
    cdef readonly LogWriter log_writer
    cdef readonly RequestMetrics metrics
    cdef readonly Counters counters
    cdef readonly set downstreams
    cdef readonly set passthroughs
    cdef readonly set upstreams
    cdef public int tunnels
    cdef public bint draining
    cdef dict _hosts
    cdef object _trusted
    cdef readonly dict clusters
    cdef readonly double moment
    cdef object _clock
    cdef bytes _ids
    cdef Py_ssize_t _next_id

    @cython.locals(normal=bytes)
    cpdef bytes normal_host(self, bytes host)
    @cython.locals(at=Py_ssize_t, p="const unsigned char*")
    cpdef bytes request_id(self)
    cpdef double look(self) except? -1
    @cython.locals(duration=double, counters=Counters)
    cpdef finished(self, Record record)
