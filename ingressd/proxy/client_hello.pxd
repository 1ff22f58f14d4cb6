cimport cython

cdef int _CLIENT_HELLO
cdef int _SERVER_NAME
cdef int _ALPN
cdef int _SESSION_TICKET
cdef int _PRE_SHARED_KEY
cdef int _TICKET_NAME
cdef int _RECORD_HEADER
cdef int _MESSAGE_HEADER


@cython.locals(p="const unsigned char*", whole=Py_ssize_t, length=Py_ssize_t, wanted=Py_ssize_t, at=Py_ssize_t,
               size=Py_ssize_t, header=bytes, piece=bytes, start=bytes, pieces=list)
cdef _collect(bytes data)
@cython.locals(p="const unsigned char*", end=int, at=int, suites=int, compressions=int, body=int, following=int, kind=int,
               identities=int, first=int, seen=set)
cdef _parse(bytes message)
@cython.locals(p="const unsigned char*", after=int)
cdef int _after(bytes message, int at, int size, int end) except -1
@cython.locals(raw=bytes)
cdef _server_name(bytes message, int at, int end)
@cython.locals(following=int)
cdef _protocols(bytes message, int at, int end)
