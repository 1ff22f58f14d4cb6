cdef class Gate:
    cdef readonly object context
    cdef readonly object table
    cdef readonly set passthroughs
    cdef dict _waiting
    cdef object _ready
    cdef long _turn
    cdef dict _counts
