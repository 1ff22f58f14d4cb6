"""What the flags say to translate."""

import msgspec

from ingressd.model import Policy

INGRESS_CLASS = "ingressd"
CONTROLLER_CLASS = "ingressd.dev/ingress-controller"


class Options(msgspec.Struct, frozen=True):
    """Named as the flags are. `default_backend_service` is `namespace/name`, empty for the built-in 404; `policy` that
    of all routes."""

    ingress_class: str = INGRESS_CLASS
    controller_class: str = CONTROLLER_CLASS
    watch_ingress_without_class: bool = False
    default_backend_service: str = ""
    policy: Policy = Policy()
