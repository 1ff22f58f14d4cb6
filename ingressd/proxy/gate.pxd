cdef class Gate:
    cdef readonly object context
    cdef readonly object table
    cdef dict _waiting
    cdef object _ready
    cdef long _turn
    cdef dict _counts
