"""The flags that say which cluster is watched, and the source they lead to."""

from collections.abc import Mapping

from ingressd.cli import objects
from ingressd.cli.flags import Flag, UsageError, Values
from ingressd.cli.values import label_selector, namespace, text
from ingressd.source.base import Source
from ingressd.source.directory import DirectorySource

KUBECONFIG = Flag(
    "kubeconfig",
    text,
    "",
    "kubeconfig file of the cluster to watch",
    metavar="PATH",
    default_text="the service account of the pod, else $KUBECONFIG or ~/.kube/config",
)
CONTEXT = Flag("context", text, "", "context of the kubeconfig", metavar="NAME", default_text="the current one")
WATCH_NAMESPACE = Flag(
    "watch-namespace",
    namespace,
    "",
    "read only the objects of this namespace, for which a Role is enough",
    metavar="NAMESPACE",
    default_text="all",
)
WATCH_NAMESPACE_SELECTOR = Flag(
    "watch-namespace-selector",
    label_selector,
    "",
    "serve only namespaces whose labels match, as in stage=live,team in (a,b)",
    metavar="SELECTOR",
    default_text="all",
)
FLAGS = (KUBECONFIG, CONTEXT, WATCH_NAMESPACE, WATCH_NAMESPACE_SELECTOR)


def source(values: Values, environment: Mapping[str, str]) -> Source:
    """Where objects come from: the manifests that are given, else a cluster. Raises UsageError and SourceError."""
    given = [flag.option for flag in FLAGS if values[flag]]
    if manifests := values[objects.MANIFESTS]:
        if given:
            raise UsageError(f"{given[0]} is for a cluster, and --manifests reads files instead: leave one of them out")
        return DirectorySource(manifests)
    if values[WATCH_NAMESPACE] and values[WATCH_NAMESPACE_SELECTOR]:
        raise UsageError(f"{given[-1]} and {given[-2]} exclude each other: leave one of them out")
    # Loading the client takes half a second and 40 MB, which nobody who reads files has to spend.
    from ingressd.source.cluster import access
    from ingressd.source.cluster.source import ClusterSource, Scope

    way = access.find(values[KUBECONFIG], values[CONTEXT], environment)
    return ClusterSource(way, Scope(values[WATCH_NAMESPACE], values[WATCH_NAMESPACE_SELECTOR]))
