"""`gomlx predict` as a person or a script meets it, over a real service."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner, Result

from gomlx import Client
from gomlx.cli import app
from tests.client.fake import QUIET
from tests.client.flights import COLUMNS, ROW
from tests.support.relay import Relay
from tests.support.service import Service, wait_for

Run = Callable[..., Result]
Rows = list[dict[str, Any]]
WORDS = [f"{name}={value}" for name, value in ROW.items()]


@pytest.fixture
def run(flying: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs `gomlx predict` in the test's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("GOMLX_HOST", flying.url)
    return lambda *words: CliRunner().invoke(app, ("predict", *map(str, words)))


def flights(size: int) -> Rows:
    """Rows with a column that no model takes, of text that needs quotes."""
    return [
        {"note": f'{n}, "é"\n'}
        | {
            name: values[(n + i) % 4]
            for i, (name, values) in enumerate(COLUMNS.items())
        }
        for n in range(size)
    ]


def write(path: Path, rows: Rows) -> Path:
    if path.suffix == ".parquet":
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=700)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            delimiter = "\t" if path.suffix == ".tsv" else ","
            writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    return path


def read(path: Path) -> Rows:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        found: Rows = pq.read_table(path).to_pylist()
        return found
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if "tsv" in path.name else ","))


def same(found: Rows, expected: Rows) -> bool:
    """Equal, as far as cells of text and floats of 32 bits can tell."""
    names = [list(rows[0]) for rows in (found, expected)]
    return names[0] == names[1] and [*map(_cells, found)] == [*map(_cells, expected)]


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        value if name == "note" else f"{float(value):.5g}"
        for name, value in row.items()
        if name not in ("carrier", "origin", "dest")
    ]


def with_answers(service: Service, rows: Rows) -> Rows:
    """The rows of the expected output."""
    names = list(COLUMNS)
    with Client("flights", service.url, options=QUIET) as client:
        inputs = [{name: row[name] for name in names} for row in rows]
        answers = client.predict_batch(inputs, timeout_seconds=60)
    return [row | answer for row, answer in zip(rows, answers, strict=True)]


def test_one_row(run: Run, flying: Service) -> None:
    done = run("flights", *WORDS)
    assert done.exit_code == 0, done.output
    with Client("flights", flying.url, options=QUIET) as client:
        assert json.loads(done.stdout) == client.predict(ROW)
    again = run("flights", *WORDS, "-v", "--option", "refresh_seconds=0")
    assert again.stdout == done.stdout
    version = flying.version("flights")
    assert f"version {version}" in again.stderr and "cached; tier L1" in again.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["flights", "carrier"], 2, "expected NAME=VALUE"),
        (["flights", *WORDS, "hour=1"], 2, "hour is given twice"),
        (["flights", *WORDS[1:]], 2, "input 'carrier': missing"),
        (["flights", *WORDS, "price=1"], 2, "no such input; the model has"),
        (["flights", *WORDS[:-2], "hour=soon", "distance=1"], 2, "expected int64"),
        (["flights", *WORDS, "--option", "x=1"], 2, "no option 'x'"),
        (["flights", "--input", "x.csv"], 2, "--output go together"),
        (["nothing", "x=1"], 1, "no model 'nothing'"),
        (["pick", "x=5"], 1, "assert"),
        (["flights", "a=1", "--host", "http://127.0.0.1:9"], 1, "127.0.0.1:9"),
    ],
)
def test_errors_are_printed_with_an_exit_code(
    run: Run, words: Sequence[str], code: int, message: str
) -> None:
    done = run(*words, "--timeout", 30)
    assert (done.exit_code, message in done.stderr) == (code, True), done.output
    assert not done.stdout


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_file(run: Run, flying: Service, tmp_path: Path, kind: str) -> None:
    rows = flights(1700)
    write(tmp_path / f"rows.{kind}", rows)
    done = run("flights", "-i", f"rows.{kind}", "-o", f"late.{kind}")
    assert done.exit_code == 0, done.output
    assert same(read(tmp_path / f"late.{kind}"), with_answers(flying, rows))
    assert "1,700 rows" in done.stderr
    assert sorted(os.listdir()) == [f"late.{kind}", f"rows.{kind}"]
    again = run("flights", "-i", f"rows.{kind}", "-o", f"late.{kind}")
    assert (again.exit_code, "--force" in again.stderr) == (2, True)


def test_values_for_all_rows_and_names_of_columns(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [{"y": 1}, {"y": 2}])
    done = run("scale", "x=1.5", "-i", "a.csv", "-o", "b.csv", "--prefix", "model_")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "b.csv").read_text() == "y,model_y\n1,3.0\n2,3.0\n"
    done = run("scale", "x=1.5", "-i", "a.csv", "-o", "c.csv")
    assert (done.exit_code, "has a column already: y" in done.stderr) == (2, True)
    done = run("scale", "-i", "a.csv", "-o", "c.csv")
    assert (done.exit_code, "no column for: x" in done.stderr) == (2, True)
    (tmp_path / "a.jsonl").write_text('{"x":1}\n\n {"z":[],"x":2.50} \n')
    assert run("scale", "-i", "a.jsonl", "-o", "b.jsonl").exit_code == 0
    wanted = '{"x":1,"y":2.0}\n{"z":[],"x":2.50,"y":5.0}\n'
    assert (tmp_path / "b.jsonl").read_text() == wanted


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_refused_rows_stop_the_run_or_are_skipped(
    run: Run, tmp_path: Path, kind: str
) -> None:
    """By the model, and by its signature; the run continues once they are corrected."""
    good = [{"x": n % 3} for n in range(1200)]
    rows: Rows = [*good]
    rows[700] = {"x": 7}
    rows[1100] = {"x": -1 if kind == "parquet" else "?"}
    source = write(tmp_path / f"a.{kind}", rows)
    into = tmp_path / f"b.{kind}"
    done = run("pick", "-i", source.name, "-o", into.name)
    assert done.exit_code == 1
    assert "row 701: " in done.stderr and "run it again" in done.stderr
    assert not into.exists()
    done = run("pick", "-i", source.name, "-o", into.name, "--on-error", "skip")
    assert done.exit_code == 0, done.output
    assert "after row 500" in done.stderr
    assert "row 701: " in done.stderr and "row 1101: " in done.stderr
    kept = [row | {"y": 10.0 + row["x"]} for row in rows if row["x"] in (0, 1, 2)]
    assert same(read(into), kept)
    if kind != "parquet":  # where rows after the position may be corrected
        run("pick", "-i", source.name, "-o", into.name, "--force")
        write(source, good)
        done = run("pick", "-i", source.name, "-o", into.name)
        assert (done.exit_code, "after row 500" in done.stderr) == (0, True)
        assert len(read(into)) == 1200
    write(source, good)
    run("pick", "-i", source.name, "-o", into.name, "--force")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_killed_run_is_continued(flying: Service, tmp_path: Path, kind: str) -> None:
    size = 30_000
    new = {"csv": 0, "jsonl": 1, "parquet": 2}[kind] * size  # no answer is cached yet
    rows = [{"n": n, "x": (n + new) / 8} for n in range(size)]
    source = write(tmp_path / f"a.{kind}", rows)
    into = tmp_path / f"b.{kind}"
    note = tmp_path / f"b.{kind}.position"
    seen = 0

    def is_further() -> bool:
        relay.lets_one = True  # one answer a look: the run is far from its end
        rows = json.loads(note.read_bytes())["position"]["rows"] if note.exists() else 0
        return bool(rows > seen) or process.poll() is not None

    with Relay(urlsplit(flying.url).port or 0) as relay:
        host = f"http://127.0.0.1:{relay.port}"
        words = ["predict", "--host", host, "scale", "-i", str(source)]
        command = [sys.executable, "-m", "gomlx", *words, "-o", str(into)]
        relay.holds = True
        for _ in range(2):
            process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            wait_for(is_further)
            process.send_signal(signal.SIGKILL)
            _, printed = process.communicate()
            assert process.returncode == -signal.SIGKILL, printed  # it had not ended
            seen = json.loads(note.read_bytes())["position"]["rows"]
            assert 0 < seen < size and not into.exists()
        with (tmp_path / f"b.{kind}.part").open("ab") as part:
            part.write(b"rows beyond the position")
        relay.holds = False
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"continuing after row {seen:,}" in done.stderr
    assert same(read(into), [row | {"y": row["x"] * 2} for row in rows])
    assert len(list(tmp_path.iterdir())) == 2


def test_another_run_does_not_continue_it(run: Run, tmp_path: Path) -> None:
    rows: Rows = [{"x": n % 3} for n in range(600)]
    write(tmp_path / "a.csv", [*rows, {"x": 9}])
    assert run("pick", "-i", "a.csv", "-o", "b.csv").exit_code == 1
    done = run("scale", "-i", "a.csv", "-o", "b.csv")
    assert (done.exit_code, "begun with model 'pick'" in done.stderr) == (2, True)
    write(tmp_path / "a.csv", [{"x": 1}, *rows])
    done = run("pick", "-i", "a.csv", "-o", "b.csv")
    assert (done.exit_code, "changed before row 501" in done.stderr) == (2, True)
    import fcntl

    with (tmp_path / "b.csv.part").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = run("pick", "-i", "a.csv", "-o", "b.csv", "--force")
        assert (done.exit_code, "another run" in done.stderr) == (1, True)
    assert run("pick", "-i", "a.csv", "-o", "b.csv", "--force").exit_code == 0
    assert len(read(tmp_path / "b.csv")) == 601


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"x\n1,2\n", "row 1: expected 1 cells, got 2"),
        (b"x\n1\n\xff\n", "row 2: input 'x': expected"),
        (b"x,z\n1,\xff\n", None),
        (b"\xef\xbb\xbfx\r\n1\r\n", None),
        (b"", "there is no header"),
        (b"x,x\n1,1\n", "columns of one name: x"),
        (b"x\n" + b"1" * (17 << 20), "longer than 16 MiB"),
        (b'x\n"' + b"1\n" * 200_000, "field larger"),
    ],
)
def test_odd_files(run: Run, tmp_path: Path, text: bytes, message: str | None) -> None:
    (tmp_path / "a.csv").write_bytes(text)
    done = run("pick", "-i", "a.csv", "-o", "b.csv")
    assert done.exit_code == (0 if message is None else done.exit_code)
    assert message is None or (done.exit_code in (1, 2) and message in done.stderr)
    assert "Traceback" not in done.output and not isinstance(done.exception, OSError)
    if message is None:
        assert (tmp_path / "b.csv").read_bytes().splitlines()[1][:4] in (
            b"1,\xff,",
            b"1,11",
        )


def test_a_missing_library_says_what_to_install(tmp_path: Path) -> None:
    """As after `pip install gomlx`: without typer; without pyarrow; as with `cli`."""
    blocked = "import sys; sys.modules.update(dict.fromkeys({!r})); "
    code = "sys.argv[1:] = {!r}; from gomlx.__main__ import main; main()"

    def run_without(modules: list[str], *words: str) -> tuple[int, str]:
        command = [sys.executable, "-c", (blocked + code).format(modules, list(words))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stderr

    code_, text = run_without(["typer"], "predict", "--help")
    assert code_ == 1 and "pip install 'gomlx[cli]'" in text
    service = ["msgspec", "yaml", "tensorflow", "gunicorn", "redis", "numpy"]
    assert run_without(service, "predict", "--help")[0] == 0
    code_, text = run_without(service, "check", "x.yaml")
    assert code_ == 1 and "pip install 'gomlx[server]'" in text
