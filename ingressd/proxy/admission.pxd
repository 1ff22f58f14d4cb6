cimport cython

from ingressd.http1.head cimport RequestHead
from ingressd.proxy.context cimport Context
from ingressd.proxy.registry cimport ClusterState
from ingressd.routing.table cimport Decision, HostTable, Table
from ingressd.telemetry.record cimport Record


@cython.locals(path=bytes, host=bytes, table=Table, virtual_host=HostTable, decision=Decision, cluster=ClusterState)
cpdef admit(Context context, RequestHead head, Record record, bytes scheme, secured)
