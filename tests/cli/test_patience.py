"""`gomlx predict` of a file, over a service that is slow, busy or away for a while."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from gomlx import Client
from gomlx.cli import patience
from gomlx.cli.rows import OnError, Rows
from gomlx.client.network.transport import FakeTransport, Request, Response
from gomlx.errors import ConnectionFailed, DeadlineExceeded, GomlxError, Overloaded
from tests.client.fake import QUIET

ROWS = 500  # one chunk: what becomes of it has one order
Fault = Callable[[int, int], GomlxError | Response | None]


class Service(FakeTransport):
    """y = 2 x, unless a fault is found for so many rows of its so-manieth question."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(lambda row: {"y": row["x"] * 2}, {"x": "float32"})
        self.fault, self.sizes = fault, list[int]()

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


def run(folder: Path, service: Service) -> Any:
    """Answer a file; return what was written."""
    (folder / "a.csv").write_text("".join(f"{x}\n" for x in ("x", *range(ROWS))))
    with Client("m", "http://m", transport=service, options=QUIET) as client:
        rows = Rows(client, folder / "a.csv", folder / "b.csv", {}, "")
        assert rows.run(OnError.stop, force=False, verbose=False)
    return (folder / "b.csv").read_text().splitlines()[1:]


@pytest.mark.parametrize("error", [DeadlineExceeded, Overloaded])
def test_fewer_rows_are_asked_for_when_so_many_are_too_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: type[GomlxError]
) -> None:
    service = Service(lambda rows, _: refused(error) if rows > 40 else None)
    written = run(tmp_path, service)
    assert [line.partition(",")[0] for line in written] == [*map(str, range(ROWS))]
    assert list(dict.fromkeys(service.sizes))[:3] == [500, 125, 31]
    assert max(service.sizes[-17:]) == 31
    assert "it takes a while; going on with 125 rows" in capsys.readouterr().err


@pytest.mark.parametrize(
    "fault", [ConnectionFailed("it was cut"), Response(502, {}, b"nobody there")]
)
def test_what_passes_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: GomlxError | Response
) -> None:
    service = Service(lambda _, question: fault if question < 8 else None)
    assert len(run(tmp_path, service)) == ROWS
    assert "; trying again for up to 60 s" in capsys.readouterr().err


def test_what_does_not_pass_is_told_in_the_end(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is the service's turn to be mended; then the run goes on."""
    monkeypatch.setattr(patience, "_TIMEOUTS", 0.0)
    service = Service(lambda *_: ConnectionFailed("it was cut"))
    with pytest.raises(GomlxError, match="it was cut"):
        run(tmp_path, service)
    assert "0 rows; run it again to go on there" in capsys.readouterr().err
    service.fault = lambda *_: None
    assert len(run(tmp_path, service)) == ROWS
