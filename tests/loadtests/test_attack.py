"""Attacks on a real service, and the verdict on what they cost others."""

from collections import Counter
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from loadtests.attack import verdict
from loadtests.attack.__main__ import ATTACKS, Bounds, Processes, app, chosen
from loadtests.attack.attacker import Done
from loadtests.attack.hits import Hit
from loadtests.attack.service import CONNECTIONS, own_service
from loadtests.attack.target import Target, is_loopback
from loadtests.attack.verdict import Measured


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with own_service(is_tls=False) as target:
        yield target


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    processes = Processes()
    yield processes
    processes.close()


@pytest.mark.parametrize(
    ("name", "least"),
    [("idle connections", CONNECTIONS), ("HTTP/2: PRIORITY", 1), ("many keys", 1)],
)
def test_an_attack_fails_no_hit(
    target: Target, processes: Processes, name: str, least: int
) -> None:
    (attack,) = (one for one in ATTACKS if one.name == name)
    found = processes.measure(target, attack, Bounds(2, CONNECTIONS + 50))
    assert found.done.opened >= least
    assert found.before
    assert found.during
    assert found.after
    assert not verdict.delays(found.hits).failed


def measured(during_ms: float, problem: str = "") -> Measured:
    """An attack from 1 s to 2 s; hits of 1 ms around it."""
    calm = [Hit(time, 0.001, "", False) for time in (0.1, 0.2, 2.1, 2.2)]
    delayed = [Hit(1.5, during_ms / 1000, problem, False)]
    return Measured("some", 1, Done(1.0, 2.0), [*calm, *delayed])


def test_hits_are_those_before_during_and_after() -> None:
    found = measured(600)
    assert [len(hits) for hits in (found.before, found.during, found.after)] == [
        2,
        1,
        2,
    ]
    late = Hit(0.9, 0.2, "", False)  # when the attack begins it is not answered yet
    found = Measured("some", 1, Done(1.0, 2.0), [late])
    assert found.during == [late]


def test_five_times_the_delay_is_too_much() -> None:
    assert verdict.quiet([measured(9)]).p99 == pytest.approx(1)
    assert verdict.problem(measured(4.9), 1.0) == ""
    assert verdict.problem(measured(5.1), 1.0) == "p99 5.1 times quiet"
    assert verdict.problem(measured(1, "status 503"), 1.0) == "1 failed: status 503"


def test_the_table_has_a_row_for_each_attack() -> None:
    lines = verdict.markdown([measured(7)]).splitlines()
    assert len(lines) == 4
    assert "| 7.0 |" in lines[-1]


def test_names_are_unique_and_listed() -> None:
    assert max(Counter(one.name for one in ATTACKS).values()) == 1
    listed = CliRunner().invoke(app, ["--list"]).output.splitlines()
    assert listed == [one.name for one in ATTACKS]


def test_other_machines_are_refused_unless_asked_for() -> None:
    result = CliRunner().invoke(app, ["http://192.0.2.1:80", "--model", "m"])
    assert result.exit_code == 2
    assert "--any-host" in result.output
    hosts = ("localhost", "127.3.2.1", "[::1]", "example.com", "10.0.0.1")
    found = [is_loopback(f"http://{host}:80") for host in hosts]
    assert found == [True, True, True, False, False]


def test_handshakes_are_attacked_where_there_are_some() -> None:
    plain = {one.name for one in chosen(Target("http://a", "m", {}), "handshakes")}
    tls = {one.name for one in chosen(Target("https://a", "m", {}), "handshakes")}
    assert (plain, len(tls)) == (set(), 2)
