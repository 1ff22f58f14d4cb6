cimport cython

from ingressd cimport octets
from ingressd.http1.head cimport RequestHead


@cython.locals(parts=list)
cpdef bytes untrusted_fields(RequestHead head, bytes of_client, bytes request_id)
