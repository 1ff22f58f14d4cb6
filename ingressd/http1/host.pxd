cimport cython

cdef bytes HOST


@cython.locals(p="const unsigned char*", valid="const unsigned char*", length=Py_ssize_t, i=Py_ssize_t)
cpdef bint valid_host(bytes value) except -1
