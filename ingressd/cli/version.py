"""`ingressd version`: the version, whether the hot modules run compiled, and what can be done with this OpenSSL."""

import json
import platform
import ssl
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

from ingressd import __version__
from ingressd.cli import flags
from ingressd.cli.output import OUTPUT, OutputFormat
from ingressd.control.build import compiled_summary, hot_modules
from ingressd.proxy.tickets import describe

SUMMARY = "Prints the version of ingressd, of Python and of uvloop, and which hot modules run compiled."


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    values = flags.read("version", SUMMARY, {"output": [OUTPUT]}, arguments, environment)
    modules = hot_modules()
    if values[OUTPUT] is OutputFormat.JSON:
        json.dump(_facts(modules), sys.stdout, indent=2)
        print()
        return 0
    facts = _facts(modules)
    print(f"ingressd {facts['version']}")
    print(f"Python {facts['python']} ({platform.python_implementation()})")
    print(f"uvloop {facts['uvloop'] or 'missing'}")
    print(f"hot modules: {facts['hot_modules']}")
    if facts["hot_modules"] == "mixed":
        for name, compiled in modules.items():
            print(f"  {name}: {'compiled' if compiled else 'interpreted'}")
    print(f"OpenSSL: {facts['openssl']}; TLS sessions across workers: {facts['tls_sessions']}")
    return 0


def _facts(modules: Mapping[str, bool]) -> dict[str, object]:
    return {
        "version": __version__,
        "python": platform.python_version(),
        "uvloop": _uvloop(),
        "openssl": ssl.OPENSSL_VERSION,
        "tls_sessions": describe(),
        "hot_modules": compiled_summary(modules),
        "modules": {name: "compiled" if compiled else "interpreted" for name, compiled in modules.items()},
    }


def _uvloop() -> str | None:
    try:
        return installed_version("uvloop")
    except PackageNotFoundError:
        return None
