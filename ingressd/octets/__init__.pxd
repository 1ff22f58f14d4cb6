from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy


cdef inline bytes join(list parts):
    cdef Py_ssize_t size = 0
    cdef bytes part
    for part in parts:
        size += PyBytes_GET_SIZE(part)
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, size)
    cdef char* at = PyBytes_AS_STRING(whole)
    for part in parts:
        size = PyBytes_GET_SIZE(part)
        memcpy(at, PyBytes_AS_STRING(part), size)
        at += size
    return whole


cdef inline bytes decimal(long long value):
    cdef char digits[20]
    cdef int at = 20
    while True:
        at -= 1
        digits[at] = 48 + value % 10
        value //= 10
        if value == 0:
            return PyBytes_FromStringAndSize(digits + at, 20 - at)
