"""ingressd: a Kubernetes Ingress controller in Python.

The flow has one direction: source -> resources.Store -> translate -> model.Snapshot -> model.Update -> routing.Table
-> proxy. What each package may import is checked by import-linter in `make lint`.
"""

from ingressd._pure import prefer_source
from ingressd._version import __version__

__all__ = ["__version__"]

prefer_source()
