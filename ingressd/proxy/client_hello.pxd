cimport cython

cdef int _CLIENT_HELLO
cdef int _SERVER_NAME
cdef int _ALPN
cdef int _SESSION_TICKET
cdef int _PRE_SHARED_KEY
cdef int _TICKET_NAME
cdef int _RECORD_HEADER
cdef int _MESSAGE_HEADER


@cython.locals(p="const unsigned char*", end=int, at=int, suites=int, compressions=int, body=int, following=int, kind=int,
               identities=int, first=int, seen=set)
cdef _parse(bytes message)
@cython.locals(p="const unsigned char*", after=int)
cdef int _after(bytes message, int at, int size, int end) except -1
