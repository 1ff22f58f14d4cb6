"""Flags come from the command line or the environment, typed, and a bad value names where it came from."""

import operator

import pytest

from ingressd.cli.flags import Flag, Sections, UsageError, Values, read
from ingressd.cli.values import addresses, boolean, duration, port

PORT = Flag("http-port", port, 80, "the port", default_text="80")
WAIT = Flag("keep-alive", duration, 75.0, "how long")
SWITCH = Flag("watch-all", boolean, False, "all or 100% of them", switch=True)
BIND: Flag[tuple[str, ...]] = Flag("bind-address", addresses, (), "where", combine=operator.add)

SECTIONS: Sections = {"listening": [PORT, BIND], "other": [WAIT, SWITCH]}


def values(*arguments: str, **environment: str) -> Values:
    return read("run", "Serves.", SECTIONS, arguments, environment)


def test_defaults() -> None:
    found = values()
    assert (found[PORT], found[WAIT], found[SWITCH], found[BIND]) == (80, 75.0, False, ())


def test_a_value_may_follow_or_be_joined() -> None:
    assert values("--http-port", "81")[PORT] == 81
    assert values("--http-port=82")[PORT] == 82


def test_the_last_occurrence_counts() -> None:
    assert values("--http-port", "81", "--http-port", "82")[PORT] == 82


def test_a_repeatable_flag_adds_up_and_takes_lists() -> None:
    assert values("--bind-address", "::1", "--bind-address=127.0.0.1,10.0.0.1")[BIND] == (
        "::1",
        "127.0.0.1",
        "10.0.0.1",
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--watch-all"], True),
        (["--watch-all=true"], True),
        (["--watch-all=false"], False),
        (["--watch-all", "--http-port=1"], True),
    ],
)
def test_a_switch_may_stand_alone(arguments: list[str], expected: bool) -> None:
    assert values(*arguments)[SWITCH] is expected


def test_the_environment_counts_where_the_command_line_is_silent() -> None:
    found = values("--http-port=81", INGRESSD_HTTP_PORT="82", INGRESSD_KEEP_ALIVE="5m", INGRESSD_WATCH_ALL="true")
    assert (found[PORT], found[WAIT], found[SWITCH]) == (81, 300.0, True)


def test_a_list_in_the_environment_is_comma_separated() -> None:
    assert values(INGRESSD_BIND_ADDRESS="::1,127.0.0.1")[BIND] == ("::1", "127.0.0.1")


def test_an_empty_variable_counts_as_not_set() -> None:
    assert values(INGRESSD_HTTP_PORT="")[PORT] == 80


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--http-port=x"], {}, "--http-port: 'x' is not a port: write a number from 0 to 65535"),
        ([], {"INGRESSD_HTTP_PORT": "x"}, "INGRESSD_HTTP_PORT: 'x' is not a port: write a number from 0 to 65535"),
        (["--http-prot=1"], {}, "unknown flag --http-prot; did you mean --http-port?"),
        (["--http-prot", "1"], {}, "unknown flag --http-prot; did you mean --http-port?"),
        (["--http"], {}, "unknown flag --http; did you mean --http-port?"),
        (["--zzz"], {}, "unknown flag --zzz; --help lists the flags"),
        (["manifests"], {}, "unexpected argument 'manifests': values are given with flags, as in --manifests DIR"),
        (["--http-port"], {}, "--http-port: expected one argument"),
        (["--watch-all=perhaps"], {}, "--watch-all: 'perhaps' is not a boolean: write true or false"),
        (
            [],
            {"INGRESSD_HTTP_PORT": "tcp://10.0.0.1:80"},
            "INGRESSD_HTTP_PORT: 'tcp://10.0.0.1:80' is not a port: write a number from 0 to 65535 "
            "(Kubernetes sets such variables for Services: set enableServiceLinks: false on the pod)",
        ),
    ],
)
def test_errors_name_the_origin_and_the_remedy(arguments: list[str], environment: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        values(*arguments, **environment)
    assert str(caught.value) == message


def test_help_shows_flags_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        values("--help")
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "--http-port" in shown
    assert "(default: 80)" in shown
    assert "100% of them" in shown
