cimport cython

from ingressd cimport octets


cdef Py_ssize_t BATCH


cdef class LogWriter:
    cdef int _descriptor
    cdef list _lines
    cdef Py_ssize_t _longest
    cdef Py_ssize_t _size
    cdef long long _written
    cdef long long _dropped
    cdef object _batches
    cdef Py_ssize_t _pending
    cdef object _wake
    cdef bint _closing
    cdef object _thread

    cpdef write(self, bytes line)
    @cython.locals(at=Py_ssize_t)
    cdef _write(self, bytes batch)
