"""Nothing in this folder is collected unless INGRESSD_CLUSTER_TESTS is set, as `make test-cluster` does."""

import os

if os.environ.get("INGRESSD_CLUSTER_TESTS"):
    from tests.netlab.fixtures import lab as lab
    from tests.netlab.fixtures import session_lab as session_lab
else:
    collect_ignore_glob = ["test_*.py"]
