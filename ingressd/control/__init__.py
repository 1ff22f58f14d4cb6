"""The controller process. `run` puts it together; the one loop that changes its state is in `controller`.

What it publishes: `reconcile`, `holdoff`, `dns`, `health`. The lives of its workers: `workers`, `sockets`, `handover`,
`tickets`. What it writes to a cluster: `writers`, which has the `leader` write the `status` of Ingresses and `events`.
What objects mean does not belong here (`translate`), nor does anything about a single request (`proxy`).
"""
