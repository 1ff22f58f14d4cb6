"""The data plane, run by each worker process (`worker`): a client connection (`downstream`) makes an `exchange` of each
request, which goes to a connection to an endpoint (`upstream`, `pool`) that the `registry` of clusters picks.

Knows nothing of Kubernetes: it is told what to serve by `model.Update`s.
"""
