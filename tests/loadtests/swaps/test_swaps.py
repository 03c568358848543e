"""What is counted of a run in which models were swapped."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from loadtests.load.samples import Exchange, Samples
from loadtests.load.traffic import Rows
from loadtests.swaps.case import Case, Measured
from loadtests.swaps.figures import Answers, stale, torn
from loadtests.swaps.gauges import Gauge
from loadtests.swaps.page import page
from loadtests.swaps.plot import plot

CASE = Case("m", lambda _, __: None, Rows(), 10.0, 1, 10.0, 20.0)


def response(version: str, y: float, is_hit: bool = True) -> bytes:
    status = "gomlx; hit" if is_hit else "gomlx; fwd=miss"
    head = f"HTTP/1.1 200 OK\r\nGomlx-Version: {version}\r\nCache-Status: {status}"
    return f'{head}\r\n\r\n{{"data":{{"y":{y}}}}}'.encode()


def exchanges() -> list[Exchange]:
    """Ten a second for 40 s: hits of the version a until 25 s, then misses of b."""
    return [
        Exchange(
            b"row",
            response("a" if n < 250 else "b", 1.0 if n < 250 else 2.0, n < 250),
            n % 4,
        )
        for n in range(400)
    ]


@pytest.fixture
def measured() -> Measured:
    latency = np.full(400, 0.001)
    latency[210:260] = 0.02
    samples = Samples(
        np.arange(400) / 10,
        latency,
        np.zeros(400, int),
        np.full(400, 200),
        np.zeros(400),
        exchanges(),
        0,
        100.0,
    )
    gauges = [Gauge(100.0 + at, 500.0, 0.0, 1.0 + at) for at in range(40)]
    return Measured(CASE, samples, [121.0], gauges)


def test_the_figures_of_a_swap(measured: Measured) -> None:
    found = Answers(measured).figures()
    assert (found.requests, found.failed, found.stale, found.torn) == (400, 0, 0, 0)
    assert found.quiet_p99 == pytest.approx(1.0)
    assert found.swap_p99 == pytest.approx(20.0)
    assert found.worst_p99 == pytest.approx(20.0)
    (swap,) = found.swaps
    assert swap.moved == pytest.approx(21.0)
    assert swap.first == pytest.approx(25.02)
    assert swap.ended == pytest.approx(24.92)
    assert swap.hit_ratio == 0


def test_half_seconds(measured: Measured) -> None:
    slots = Answers(measured).slots()
    assert [slot.at for slot in slots[:3]] == [0.0, 0.5, 1.0]
    assert slots[0].hit_ratio == 1
    assert slots[-1].hit_ratio == 0
    assert slots[0].p50 == pytest.approx(1.0)


def test_an_old_answer_after_a_new_one_is_stale() -> None:
    assert stale([0, 1, 1, 0], [5, 5, 6, 6]) == 1
    assert stale([0, 1, 0], [5, 5, 6]) == 0  # of a worker that has not swapped yet


def test_answers_of_another_version_than_they_name() -> None:
    other = Exchange(b"row", response("b", 1.0), 1)
    found = [*exchanges()[:1], other]
    assert torn(found, [b"a", b"b"]) == 1
    assert torn(found, [b"a", b"a"]) == 0


def test_the_page_and_the_plot(measured: Measured, tmp_path: Path) -> None:
    answers = Answers(measured)
    figures = answers.figures()
    text = page([(measured, figures)])
    assert "| answers; failed, stale, torn | 400; 0, 0, 0 |" in text
    assert "| of the quiet one | 20.0 x, 20.0 x |" in text
    assert "| `run_dir`: most | 40 MB |" in text
    (tmp_path / "swap.svg").write_text(plot([(measured, figures, answers.slots())]))
    drawn = ElementTree.parse(tmp_path / "swap.svg").getroot()
    assert len([one for one in drawn.iter() if one.tag.endswith("polyline")]) == 6
