"""`gomlx predict` of a file, over a service that is slow, overloaded or away."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from gomlx import Client
from gomlx.cli.files.retry import RetryPolicy
from gomlx.cli.files.run import FileJob, FileRun
from gomlx.client.network.transport import FakeTransport, Request, Response
from gomlx.errors import ConnectionFailed, DeadlineExceeded, GomlxError, Overloaded
from gomlx.runtime.randomness import RANDOM
from tests.client.fake import QUIET

ROWS = 500  # one chunk: its requests come one after the other
Fault = Callable[[int, int], GomlxError | Response | None]


class FaultyService(FakeTransport):
    """y = 2 x, unless fault(rows of the request, number of the request) is a fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(lambda row: {"y": row["x"] * 2}, {"x": "float32"})
        self.fault = fault
        self.sizes: list[int] = []

    async def send(self, request: Request) -> Response:
        if request.body is not None:
            self.sizes.append(orjson.loads(request.body).get("batch_size", 1))
            fault = self.fault(self.sizes[-1], len(self.sizes))
            if isinstance(fault, GomlxError):
                raise fault
            if fault:
                return fault
        return await super().send(request)


def refused(error: type[GomlxError]) -> Response:
    body = orjson.dumps({"status": "error", "error": "it takes a while"})
    return Response(error.status, {}, body)


def run(
    folder: Path, service: FaultyService, policy: RetryPolicy | None = None
) -> list[str]:
    """Run over a file; return the output's lines without the header."""
    (folder / "a.csv").write_text("".join(f"{x}\n" for x in ("x", *range(ROWS))))
    with Client("m", "http://m", transport=service, options=QUIET) as client:
        job = FileJob(folder / "a.csv", folder / "b.csv", {})
        assert FileRun(client, job, policy).run()
    return (folder / "b.csv").read_text().splitlines()[1:]


@pytest.mark.parametrize("error", [DeadlineExceeded, Overloaded])
def test_requests_get_smaller_if_the_service_is_too_busy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: type[GomlxError]
) -> None:
    service = FaultyService(lambda rows, _: refused(error) if rows > 40 else None)
    written = run(tmp_path, service)
    assert [line.partition(",")[0] for line in written] == [*map(str, range(ROWS))]
    assert list(dict.fromkeys(service.sizes))[:3] == [500, 125, 31]
    assert max(service.sizes[-17:]) == 31
    assert "it takes a while; continuing with 125 rows" in capsys.readouterr().err


@pytest.mark.parametrize(
    "fault", [ConnectionFailed("it was cut"), Response(502, {}, b"no answer")]
)
def test_transient_failures_are_retried(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    fault: GomlxError | Response,
) -> None:
    # The shortest pauses: the client gives up once its breaker opens.
    monkeypatch.setattr(RANDOM, "uniform", lambda least, _: least)
    service = FaultyService(lambda _, request: fault if request < 8 else None)
    policy = RetryPolicy(60, pause_seconds=0.01)
    assert len(run(tmp_path, service, policy)) == ROWS
    assert "; trying again for up to 60 s" in capsys.readouterr().err


def test_the_default_is_two_timeouts_of_the_client() -> None:
    options = replace(QUIET, timeout_seconds=7)
    client = Client(
        "m", "http://m", transport=FaultyService(lambda *_: None), options=options
    )
    assert RetryPolicy.of(client) == RetryPolicy(seconds=14, pause_seconds=1)


def test_a_lasting_failure_ends_the_run_and_the_next_run_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = FaultyService(lambda *_: ConnectionFailed("it was cut"))
    with pytest.raises(GomlxError, match="it was cut"):
        run(tmp_path, service, RetryPolicy(0))
    assert "0 rows; run it again to continue there" in capsys.readouterr().err
    service.fault = lambda *_: None
    assert len(run(tmp_path, service)) == ROWS
