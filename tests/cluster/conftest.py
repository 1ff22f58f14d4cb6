"""Nothing in this folder is collected unless INGRESSD_CLUSTER_TESTS is set, as `make test-cluster` does: it needs
programs that take minutes to build."""

import os

if os.environ.get("INGRESSD_CLUSTER_TESTS"):
    from tests.cluster.fixtures import admin as admin
    from tests.cluster.fixtures import assets as assets
    from tests.cluster.fixtures import cluster as cluster
    from tests.cluster.fixtures import pytest_runtest_makereport as pytest_runtest_makereport
    from tests.netlab.fixtures import lab as lab
    from tests.netlab.fixtures import session_lab as session_lab
else:
    collect_ignore_glob = ["test_*.py"]
