cimport cython

cdef int _HOST
cdef int _CONNECTION
cdef int _CONTENT_LENGTH
cdef int _TRANSFER_ENCODING
cdef int _UPGRADE
cdef int _TE
cdef int _EXPECT
cdef int _HOP
cdef int _REFERER
cdef int _USER_AGENT
cdef int _AUTHORIZATION
cdef int _ACCEPT
cdef int _REQUEST_ID
cdef int _FORWARDED_FOR
cdef int _FORWARDED_PROTO
cdef int _FORWARDED_HOST
cdef int _FORWARDED_PORT
cdef int _FORWARDED_SCHEME
cdef int _SCHEME
cdef int _REAL_IP
cdef int _FORWARDED_OTHER


cdef class Head:
    cdef readonly bytes raw
    cdef readonly Py_ssize_t start
    cdef readonly Py_ssize_t end
    cdef readonly int minor
    cdef readonly list kept
    cdef readonly long long content_length
    cdef readonly bint chunked
    cdef readonly bint close
    cdef readonly bint keep_alive
    cdef readonly bint connection_upgrade
    cdef Py_ssize_t _position
    cdef Py_ssize_t _run
    cdef int _fields
    cdef list _named

    @cython.locals(
        p="const unsigned char*", token="const unsigned char*", valid="const unsigned char*",
        maybe="const unsigned char*", length=Py_ssize_t, i=Py_ssize_t, name_end=Py_ssize_t, value=Py_ssize_t,
        value_end=Py_ssize_t, size=Py_ssize_t, underscore=int, mark=int, keep=bint, code=int,
    )
    cpdef Py_ssize_t scan_fields(self, bytes buffer, Py_ssize_t line) except? -2
    cpdef bint on_field(self, int code, bytes value) except? -1
    cdef _on_connection(self, bytes value)
    cdef _on_content_length(self, bytes value)
    cpdef check_framing(self)
    cdef _drop_named(self)


cdef class RequestHead(Head):
    cdef readonly bint trusted
    cdef readonly bytes method
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
    cdef readonly bytes accept
    cdef readonly bytes request_id
    cdef readonly bytes forwarded_for
    cdef readonly bint has_proto
    cdef readonly bint has_host
    cdef readonly bint has_port
    cdef readonly bint has_scheme
    cdef readonly bint has_x_scheme
    cdef int _host_fields
    cdef Py_ssize_t _line_end

    @cython.locals(line=Py_ssize_t, end=Py_ssize_t)
    cpdef Py_ssize_t feed(self, bytes buffer, Py_ssize_t start) except? -2
    @cython.locals(
        p="const unsigned char*", token="const unsigned char*", valid="const unsigned char*", length=Py_ssize_t,
        i=Py_ssize_t, method_end=Py_ssize_t, first=Py_ssize_t, query=Py_ssize_t, normal=bint, mark=int,
    )
    cdef Py_ssize_t _scan_line(self, bytes buffer, Py_ssize_t start) except? -2
    cdef _refuse_version(self, bytes rest)
    cdef _other_target(self, bytes target)
    cpdef bint on_field(self, int code, bytes value) except? -1
    cdef bint _on_forwarded(self, int code, bytes value) except? -1
    @cython.locals(parts=list)
    cpdef bytes forward(self, bytes added)


cdef class ResponseHead(Head):
    cdef readonly int status
    cdef readonly bytes upgrade
    cdef bytes _reason
    cdef Py_ssize_t _line_end

    @cython.locals(line=Py_ssize_t, end=Py_ssize_t)
    cpdef Py_ssize_t feed(self, bytes buffer, Py_ssize_t start) except? -2
    @cython.locals(
        p="const unsigned char*", valid="const unsigned char*", length=Py_ssize_t, i=Py_ssize_t, first=Py_ssize_t,
    )
    cdef Py_ssize_t _scan_line(self, bytes buffer, Py_ssize_t start) except? -2
    cpdef bint on_field(self, int code, bytes value) except? -1
    @cython.locals(parts=list)
    cpdef bytes forward(self, bytes added)


cdef class Trailers(Head):
    cpdef Py_ssize_t feed(self, bytes buffer, Py_ssize_t start) except? -2
    cpdef bint on_field(self, int code, bytes value) except? -1


@cython.locals(p="const unsigned char*", valid="const unsigned char*", length=Py_ssize_t, i=Py_ssize_t)
cpdef bint valid_host(bytes value) except? -1
