"""Nothing in this folder is collected unless INGRESSD_SSLYZE is set, as `make test-tls` does: to the command of sslyze,
which has an environment of its own, because it wants other versions of libraries than ingressd."""

import os

if not os.environ.get("INGRESSD_SSLYZE"):
    collect_ignore_glob = ["test_*.py"]
