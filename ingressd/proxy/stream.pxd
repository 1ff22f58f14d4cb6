cimport cython

from ingressd cimport octets

cdef int IN
cdef int OUT
cdef Py_ssize_t HIGH_WATER
cdef Py_ssize_t LOW_WATER


cdef class Pollable:
    cdef readonly Poller poller
    cdef public int descriptor
    cdef public int events

    cpdef ready(self, int events)
    cpdef broken(self)
    cpdef watch(self, int events)


cdef class Poller:
    cdef readonly object loop
    cdef object _epoll
    cdef int _descriptor
    cdef dict _pollables
    cdef bint _handing_out
    cdef list _ended
    cdef readonly long turns

    cpdef change(self, Pollable pollable, int events)
    cdef end(self, Stream stream, error)
    @cython.locals(stream=Stream)
    cdef _finish_ended(self)
    @cython.locals(pollable=Pollable, ready=list, at=Py_ssize_t)
    cpdef _hand_out(self)


cdef class Stream(Pollable):
    cdef object _socket
    cdef object _peer
    cdef object _protocol
    cdef list _waiting
    cdef Py_ssize_t _offset
    cdef Py_ssize_t _unsent
    cdef Py_ssize_t _high
    cdef Py_ssize_t _low
    cdef bint _reading
    cdef bint _paused
    cdef bint _eof
    cdef bint _write_eof
    cdef bint _closing
    cdef bint _lost
    cdef bint _rest

    @cython.locals(sent=Py_ssize_t)
    cpdef write(self, bytes data)
    cpdef pause_reading(self)
    cpdef resume_reading(self)
    cpdef close(self)
    cpdef abort(self)
    cpdef ready(self, int events)
    cpdef broken(self)
    @cython.locals(data=bytes)
    cdef _receive(self)
    @cython.locals(waiting=list, data=bytes, done=Py_ssize_t, sent=Py_ssize_t)
    cdef _send(self)
    cdef _made(self)
    cdef _shut_down(self)
    cpdef finish(self, error)
    @cython.locals(data=bytes)
    cdef _read_rest(self, bint ended)
    @cython.locals(events=int)
    cdef _watch(self)
    cdef _fail(self, error)
    cdef _end(self, error)


cdef class Listener(Pollable):
    cdef object _socket
    cdef object _connection
    cdef object _exhausted
    cdef bint _closed

    @cython.locals(accepted=tuple, descriptor=int)
    cpdef ready(self, int events)
    cpdef broken(self)
