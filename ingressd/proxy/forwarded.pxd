cimport cython

from ingressd cimport octets
from ingressd.http1.head cimport RequestHead


cpdef bytes client_fields(bytes address, bytes scheme, int port)

@cython.locals(parts=list)
cpdef bytes untrusted_fields(RequestHead head, bytes of_client, bytes request_id)
