"""What needs kubectl is collected only if INGRESSD_CLUSTER_TESTS is set, as `make test-cluster` does."""

import os

collect_ignore_glob = [] if os.environ.get("INGRESSD_CLUSTER_TESTS") else ["test_installations.py", "test_overlays.py"]
