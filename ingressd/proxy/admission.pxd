cimport cython

from ingressd.http1.head cimport RequestHead
from ingressd.proxy.context cimport Context
from ingressd.proxy.registry cimport ClusterState
from ingressd.routing.table cimport Decision, HostTable, Table
from ingressd.telemetry.record cimport Record


@cython.final
cdef class Admission:
    cdef Context _context

    @cython.locals(
        context=Context, path=bytes, host=bytes, table=Table, virtual_host=HostTable, decision=Decision,
        cluster=ClusterState,
    )
    cpdef decide(self, RequestHead head, Record record, bytes scheme, secured)
