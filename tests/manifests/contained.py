"""Runs a command as the pod's security context has it.

In namespaces of its own: user 65532 with no capability and none to be had, every file read only, and a network with
nothing but loopback, in which ports below 1024 are open to everybody (net.ipv4.ip_unprivileged_port_start). That needs
no root where the kernel lets users have user namespaces, and unshare, setpriv and ip (util-linux, iproute2).
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

USER = 65532
DEADLINE = 30.0
"""Seconds for each thing that is waited for."""
HTTP_PORT, ADMIN_PORT = 80, 10254

_ENTER = ("unshare", "--user", f"--map-user={USER}", f"--map-group={USER}", "--keep-caps", "--net", "--mount")
_PREPARE = """
set -e
ip link set lo up
echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
# Any of these may be a mount of its own. A pod has a /dev/shm that it may write to; nothing should depend on it.
for each in /tmp /var/tmp /run /dev/shm; do
    mount --rbind "$each" "$each"
    mount -o remount,bind,ro "$each"
done
mount -o remount,bind,ro /
shift
cd /
exec setpriv --inh-caps=-all --ambient-caps=-all --bounding-set=-all --no-new-privs "$@"
"""


class Found(NamedTuple):
    """`statuses` are those of the answers; `writable` the folders in which a file could be made; `capabilities` are the
    sets of proc_pid_status(5); `code` is that of the exit after SIGTERM, `log` what was on stderr."""

    statuses: list[int]
    user: int
    capabilities: list[str]
    writable: list[str]
    code: int
    log: str


def why_not() -> str:
    """Why this cannot be done here; empty if it can."""
    try:
        done = subprocess.run([*_ENTER, "ip", "link", "set", "lo", "up"], capture_output=True, text=True)
    except OSError as error:
        return str(error)
    return done.stderr.strip() if done.returncode else ""


def run(folder: Path, command: Sequence[str], environment: Mapping[str, str], hosts: Sequence[str]) -> Found:
    """Runs `command`, an `ingressd run` at its usual ports whose files are in `folder`, until it is ready; asks it for
    `/` of each host and ends it."""
    request = json.dumps([str(folder), list(command), dict(environment), list(hosts)])
    inside = ["sh", "-c", _PREPARE, "contained", str(folder), sys.executable, __file__, request]
    done = subprocess.run([*_ENTER, *inside], capture_output=True, text=True, timeout=4 * DEADLINE)
    assert done.returncode == 0, done.stderr
    return Found(*json.loads(done.stdout))


def _inside(folder: str, command: Sequence[str], environment: Mapping[str, str], hosts: Sequence[str]) -> Found:
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            end = time.monotonic() + DEADLINE
            while _status(ADMIN_PORT, "/readyz") != 200 and process.poll() is None and time.monotonic() < end:
                time.sleep(0.02)  # another process tells nobody that it is ready
            statuses = [_status(HTTP_PORT, "/", host) for host in hosts]
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
    return Found(statuses, os.getuid(), _capabilities(), _writable(folder), process.returncode, log)


def _status(port: int, path: str, host: str = "localhost") -> int:
    """0 if nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def _capabilities() -> list[str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith("Cap")]


def _writable(folder: str) -> list[str]:
    return [each for each in (folder, "/", "/tmp", "/var/tmp", "/run", "/dev/shm") if _can_write(each)]


def _can_write(folder: str) -> bool:
    file = Path(folder, f"ingressd-{os.getpid()}")
    try:
        file.touch()
    except OSError:
        return False
    file.unlink()
    return True


if __name__ == "__main__":
    json.dump(_inside(*json.loads(sys.argv[1])), sys.stdout)
