"""Pods with addresses of their own on one machine: network namespaces on a bridge, each with a small HTTP server.

    async with Lab() as lab:
        pod = await lab.pod()
        ...  # http://{pod.address}:{pod.port}/ answers with pod.name
        await pod.remove()

The API server refuses loopback addresses in EndpointSlices, so pods of tests need others. This works on Linux, as root,
with `ip` of iproute2; `why_not` says what is missing. Pods reach only this machine and it alone reaches them: they have
no route but that of the bridge. Enter the lab before what sends requests to it and leave it after: without the bridge
its addresses are like any other's.
"""

from tests.netlab.lab import Lab, LabError, Pod, why_not

__all__ = ["Lab", "LabError", "Pod", "why_not"]
