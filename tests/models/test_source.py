"""Sources of models: folders, numbered versions, other file systems."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gomlx.errors import StageFailed
from gomlx.models.source import Source


def model(path: Path, text: str = "graph") -> Path:
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").write_text(text)
    (path / "variables" / "variables.index").write_text("index")
    (path / "README").write_text("not served")
    return path


def test_a_saved_model(tmp_path: Path) -> None:
    snapshot = Source(str(model(tmp_path / "m"))).snapshot()
    assert snapshot
    assert snapshot.names == ["saved_model.pb", "variables/variables.index"]


def test_the_highest_complete_number_wins(tmp_path: Path) -> None:
    for number in ("9", "10", "7"):
        model(tmp_path / "m" / number, number)
    (tmp_path / "m" / "11" / "variables").mkdir(parents=True)  # not complete yet
    (tmp_path / "m" / "latest").mkdir()
    snapshot = Source(str(tmp_path / "m")).snapshot()
    assert snapshot
    assert snapshot.root.endswith("/10")


def test_nothing_there(tmp_path: Path) -> None:
    assert Source(str(tmp_path / "m")).snapshot() is None
    (tmp_path / "m").mkdir()
    assert Source(str(tmp_path / "m")).snapshot() is None


def test_a_change_of_content_changes_the_snapshot(tmp_path: Path) -> None:
    source = Source(str(model(tmp_path / "m")))
    before = source.snapshot()
    assert source.snapshot() == before
    (tmp_path / "m" / "saved_model.pb").write_text("other")
    assert source.snapshot() != before


def test_the_digest_is_of_names_and_bytes(tmp_path: Path) -> None:
    def digest(path: Path, into: str) -> str:
        source = Source(str(path))
        snapshot = source.snapshot()
        assert snapshot
        return source.fetch(snapshot, tmp_path / into)

    a = model(tmp_path / "a")
    same = model(tmp_path / "b")
    other = model(tmp_path / "c", "grapH")
    moved = model(tmp_path / "d")
    (moved / "variables" / "variables.index").rename(moved / "variables" / "x")
    digests = [digest(path, path.name + "-copy") for path in (a, same, other, moved)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert (tmp_path / "a-copy" / "variables" / "variables.index").is_file()
    assert not (tmp_path / "a-copy" / "README").exists()


def test_errors_mask_secrets() -> None:
    with pytest.raises(StageFailed) as failed:
        Source("gopher://user:pa/ss@host/models?token=T0KEN")
    assert "pa/ss" not in str(failed.value)
    assert "T0KEN" not in str(failed.value)


def test_an_unknown_scheme() -> None:
    with pytest.raises(StageFailed, match="gopher"):
        Source("gopher://host/m")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server over tmp_path."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_over_http(tmp_path: Path, web: str) -> None:
    model(tmp_path / "models" / "3")
    source = Source(f"{web}/models")
    assert source.local_path is None
    snapshot = source.snapshot()
    assert snapshot
    source.fetch(snapshot, tmp_path / "copy")
    assert (tmp_path / "copy" / "saved_model.pb").read_text() == "graph"


def test_an_unreachable_web_server() -> None:
    with pytest.raises(StageFailed):
        Source("http://127.0.0.1:9/models").snapshot()


def test_a_saved_model_beside_its_keras_file(tmp_path: Path) -> None:
    (model(tmp_path / "m") / "m.keras").write_text("not served")
    snapshot = Source(str(tmp_path / "m")).snapshot()
    assert snapshot
    assert snapshot.names == ["saved_model.pb", "variables/variables.index"]


def test_numbered_keras_files(tmp_path: Path) -> None:
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "m.keras").write_text(number)
    snapshot = Source(str(tmp_path)).snapshot()
    assert snapshot
    assert snapshot.root.endswith("/2")
    assert snapshot.names == ["m.keras"]
