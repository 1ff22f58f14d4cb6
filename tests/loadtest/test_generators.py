"""What the load generators print. The output is theirs, word for word."""

import generators
import pytest
from figures import Load
from rig import RigError

WRK = """Running 1s test @ http://127.0.0.1:39555
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.80ms    2.17ms  21.19ms   79.05%
    Req/Sec    12.95k     1.92k   15.04k    60.00%
  12863 requests in 1.01s, 1.97MB read
  Socket errors: connect 0, read 3, write 0, timeout 1
Requests/sec:  12766.56
Transfer/sec:      1.95MB
measured requests=12863 duration=1007554 p50=4795 p99=11419 p999=21192 errors=4
"""
H2LOAD = """starting benchmark...
spawning thread #0: 4 total client(s). 1000 total requests
Application protocol: http/1.1
progress: 10% done
progress: 100% done

finished in 521.29ms, 1918.31 req/s, 299.74KB/s
requests: 1000 total, 1000 started, 1000 done, 990 succeeded, 10 failed, 6 errored, 1 timeout
status codes: 990 2xx, 0 3xx, 4 4xx, 0 5xx
traffic: 156.25KB (160000) total, 106.45KB (109000) headers (space savings 0.00%), 11.72KB (12000) data
                     min         max         mean         sd        +/- sd
time for request:      135us    144.06ms      2.06ms     10.82ms    98.00%
time for connect:      103us       437us       234us       143us    75.00%
time to 1st byte:     2.88ms      3.13ms      2.98ms       109us    75.00%
req/s           :     484.73      484.99      484.85        0.13    75.00%
"""


def test_wrk() -> None:
    assert generators.parse_wrk(WRK) == Load(12863, 1.007554, 4, 4795.0, 11419.0, 21192.0)


def test_wrk_without_figures() -> None:
    with pytest.raises(RigError, match="unable to connect"):
        generators.parse_wrk("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_h2load() -> None:
    load = generators.parse_h2load(H2LOAD.replace("521.29ms", "0.50s"), reversed(range(1, 1001)))
    assert load == Load(990, 0.5, 10, 500.0, 990.0, 999.0)


@pytest.mark.parametrize(
    ("printed", "seconds"), [("982us", 0.000982), ("2.08s", 2.08), ("1.50m", 90.0), ("521.29ms", 0.52129)]
)
def test_h2load_has_several_units(printed: str, seconds: float) -> None:
    output = H2LOAD.replace("521.29ms", printed)
    assert generators.parse_h2load(output, []).seconds == pytest.approx(seconds)


def test_h2load_without_requests_has_no_latency() -> None:
    output = H2LOAD.replace("990 succeeded, 10 failed, 6 errored", "0 succeeded, 1000 failed, 999 errored")
    assert generators.parse_h2load(output.replace("521.29ms", "2s"), []) == Load(0, 2.0, 1000, 0.0, 0.0, 0.0)


def test_h2load_without_figures() -> None:
    with pytest.raises(RigError, match="no figures"):
        generators.parse_h2load("starting benchmark...\n", [])
