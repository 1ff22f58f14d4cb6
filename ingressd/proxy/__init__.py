"""The data plane, run by each worker process: listener, downstream, exchange, upstream, pool, balancer.

Knows nothing of Kubernetes: it is told what to serve by `model.Update`s."""
