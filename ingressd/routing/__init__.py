"""model -> compiled Table: host by dict, then path; precedence is one comparable value. Pure."""

from ingressd.routing.normalise import InvalidPath, normal_host, normal_path
from ingressd.routing.table import Decision, Table

__all__ = ["Decision", "InvalidPath", "Table", "normal_host", "normal_path"]
