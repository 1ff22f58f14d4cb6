cimport cython

from ingressd cimport octets
from ingressd.http1.fields cimport Head
from ingressd.http1.host cimport valid_host

cdef int MAX_EMPTY_LINES
cdef int MAX_REQUEST_LINE
cdef bytes TARGET
cdef bytes TOKEN
cdef bytes VALUE
cdef bytes GET
cdef int _HOST
cdef int _UPGRADE
cdef int _TE
cdef int _EXPECT
cdef int _REFERER
cdef int _USER_AGENT
cdef int _AUTHORIZATION
cdef int _REQUEST_ID
cdef int _FORWARDED_FOR
cdef int _FORWARDED_PROTO
cdef int _FORWARDED_HOST
cdef int _FORWARDED_PORT
cdef int _FORWARDED_SCHEME
cdef int _SCHEME
cdef int _REAL_IP
cdef int _FORWARDED_OTHER


@cython.no_gc
cdef class RequestHead(Head):
    cdef readonly bint trusted
    cdef readonly bytes method
    cdef readonly bytes line
    cdef readonly bint idempotent
    cdef readonly bytes target
    cdef readonly bytes path
    cdef readonly bint path_normal
    cdef readonly bytes host
    cdef readonly bint host_replaced
    cdef readonly bytes upgrade
    cdef readonly bint expect_continue
    cdef readonly bint te_trailers
    cdef readonly bytes referer
    cdef readonly bytes user_agent
    cdef readonly bytes authorization
    cdef readonly bytes request_id
    cdef readonly bytes forwarded_for
    cdef readonly bint has_proto
    cdef readonly bint has_host
    cdef readonly bint has_port
    cdef readonly bint has_scheme
    cdef readonly bint has_x_scheme
    cdef int _host_fields
    cdef bint _line_kept

    cpdef begin(self, bint trusted)
    @cython.locals(line=Py_ssize_t, end=Py_ssize_t)
    cpdef Py_ssize_t feed(self, bytes buffer, Py_ssize_t start) except -2
    cdef _check_size(self, Py_ssize_t line, Py_ssize_t end)
    @cython.locals(
        p="const unsigned char*", token="const unsigned char*", valid="const unsigned char*", length=Py_ssize_t,
        i=Py_ssize_t, method_end=Py_ssize_t, first=Py_ssize_t, query=Py_ssize_t, end=Py_ssize_t, normal=bint, mark=int,
    )
    cdef Py_ssize_t _scan_line(self, bytes buffer, Py_ssize_t start) except -2
    cdef Py_ssize_t _refuse_version(self, bytes buffer, Py_ssize_t at) except -2
    cdef _other_target(self, bytes target)
    cdef bint _on_field(self, int code, bytes value) except -1
    cdef bint _on_forwarded(self, int code, bytes value) except -1
    @cython.locals(parts=list)
    cpdef bytes forward(self, bytes added)


@cython.no_gc
cdef class ResponseHead(Head):
    cdef readonly int status
    cdef readonly bytes upgrade
    cdef Py_ssize_t _line_end

    cpdef begin(self)
    @cython.locals(line=Py_ssize_t, end=Py_ssize_t)
    cpdef Py_ssize_t feed(self, bytes buffer, Py_ssize_t start) except -2
    @cython.locals(
        p="const unsigned char*", valid="const unsigned char*", length=Py_ssize_t, i=Py_ssize_t, at=Py_ssize_t,
        status=int,
    )
    cdef Py_ssize_t _scan_line(self, bytes buffer, Py_ssize_t start) except -2
    cdef bint _on_field(self, int code, bytes value) except -1
    @cython.locals(p="const unsigned char*", code=Py_ssize_t, parts=list)
    cpdef bytes forward(self, bytes added)


@cython.locals(head=RequestHead)
cpdef RequestHead request_head(bint trusted)
@cython.locals(head=ResponseHead)
cpdef ResponseHead response_head()
