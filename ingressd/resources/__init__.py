"""Kubernetes objects as ingressd sees them: typed, decoded from raw mappings, and the Store that holds them.

No IO, no clock, no logging. Nothing here knows what an object means for routing: that is `translate`."""
