"""`python -m tests.cluster`, which `make cluster-assets` runs: builds the programs into the cache folder, unless they
are there, or KUBEBUILDER_ASSETS says where they are. If they cannot be built, KUBECONFIG may name a cluster instead."""

import os
import sys

from tests.cluster.assets import AssetsError, build, cache_folder, find


def main() -> int:
    """The exit code."""
    try:
        if not os.environ.get("KUBEBUILDER_ASSETS"):
            build(cache_folder())
        print(f"cluster assets: {find().etcd.parent}")
    except AssetsError as error:
        print(error, file=sys.stderr)
        if os.environ.get("KUBEBUILDER_ASSETS") or not (paths := os.environ.get("KUBECONFIG")):
            return 1
        print(f"cluster assets: none; tests use the cluster of KUBECONFIG={paths}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
