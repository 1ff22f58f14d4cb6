cdef class Secured:
    cdef object _table
    cdef readonly object context
    cdef object _object
    cdef public int verdict
    cdef bytes _checked
    cdef int _generation
    cdef object _refusal
    cdef bytes _fields

    cpdef refusal(self, bytes host)
    cdef _judge(self, bytes host)
    cdef _judge_client(self, wanted)
    cpdef fields(self)
    cdef _render(self, wanted)
