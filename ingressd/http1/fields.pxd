cimport cython

cdef bytes CANDIDATES
cdef bytes CODES
cdef int MAX_CONTENT_LENGTH_DIGITS
cdef int MAX_FIELD
cdef int MAX_FIELDS
cdef int MAX_HEAD
cdef int NAME_ROOM
cdef bytes NAMES
cdef int SEVERAL
cdef bytes TOKEN
cdef bytes VALUE
cdef int _HOST
cdef int _CONNECTION
cdef int _CONTENT_LENGTH
cdef int _TRANSFER_ENCODING
cdef int _TE
cdef int _HOP
cdef int _REQUEST_ID
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
    cdef Py_ssize_t _seen
    cdef Py_ssize_t _run
    cdef int _fields
    cdef int _unwanted
    cdef set _named

    cdef _begin(self)
    cpdef bint persists(self) except -1
    @cython.locals(
        p="const unsigned char*", token="const unsigned char*", valid="const unsigned char*", length=Py_ssize_t,
        i=Py_ssize_t, line=Py_ssize_t, value=Py_ssize_t, value_end=Py_ssize_t, size=Py_ssize_t, marks=int, keep=bint,
        code=int,
    )
    cdef Py_ssize_t _scan_fields(self, bytes buffer) except -2
    cdef Py_ssize_t _more(self, bytes buffer, Py_ssize_t line) except -2
    cdef bint _waits(self, bytes buffer) except -1
    @cython.locals(end=Py_ssize_t)
    cdef Py_ssize_t _refuse(self, bytes buffer, Py_ssize_t line, Py_ssize_t at, str detail) except -2
    cdef _check_size(self, Py_ssize_t line, Py_ssize_t end)
    cdef bint _on_field(self, int code, bytes value) except -1
    cdef _on_connection(self, bytes value)
    @cython.locals(p="const unsigned char*", digits=Py_ssize_t, i=Py_ssize_t, length="long long")
    cdef _on_content_length(self, bytes value)
    cdef _check_framing(self)
    cdef _drop_named(self)


cdef class Trailers(Head):
    cpdef Py_ssize_t feed(self, bytes buffer, Py_ssize_t start) except -2
    cdef bint _on_field(self, int code, bytes value) except -1


@cython.locals(
    p="const unsigned char*", candidate="const unsigned char*", names="const unsigned char*",
    codes="const unsigned char*", which=int, name=Py_ssize_t, i=Py_ssize_t,
)
cdef int known_at(bytes buffer, Py_ssize_t line, Py_ssize_t size) except -1
cdef _end_to_end(bytes option)
