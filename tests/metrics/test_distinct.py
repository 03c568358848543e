"""A sample of the values of rows that missed, of several workers."""

from pathlib import Path

from gomlx.metrics.distinct import RecentValues, distinct_values


def written(folder: Path, slot: int, rows: list[list[int]], version: str = "v") -> None:
    values = RecentValues(folder, slot)
    for row in rows:
        values.add("m", version, ["a", "b"], row)
    changes = values.changes()
    assert changes is not None
    values.write(changes)
    assert values.changes() is None


def test_values_of_all_workers_are_counted_once(tmp_path: Path) -> None:
    written(tmp_path, 0, [[1, 10], [1, 11]])
    written(tmp_path, 1, [[1, 12], [2, 10]])
    written(tmp_path, 2, [[7, 7]], "another version")
    (tmp_path / "values_3.json").write_bytes(b"{")
    (tmp_path / "tally_0.msgpack").write_bytes(b"")
    found = distinct_values(tmp_path, {"m": "v", "n": "v"})
    assert found == {"m": {"rows": 4, "distinct": {"a": 2, "b": 3}}}


def test_only_the_newest_rows_are_kept(tmp_path: Path) -> None:
    written(tmp_path, 0, [[n, 0] for n in range(1000)])
    found = distinct_values(tmp_path, {"m": "v"})
    assert found == {"m": {"rows": 256, "distinct": {"a": 256, "b": 1}}}


def test_many_inputs_have_fewer_rows(tmp_path: Path) -> None:
    values = RecentValues(tmp_path, 0)
    for n in range(1000):
        values.add("m", "v", [*map(str, range(100))], [n] * 100)
    changes = values.changes()
    assert changes is not None
    assert len(changes["m"]["rows"]) == 81


def test_a_new_version_and_a_model_that_is_gone_begin_anew(tmp_path: Path) -> None:
    values = RecentValues(tmp_path, 0)
    values.add("m", "v", ["a"], [1])
    values.add("n", "v", ["a"], [1])
    values.add("m", "w", ["a"], [2])
    values.keep_models(["m"])
    assert values.changes() == {"m": {"version": "w", "inputs": ["a"], "rows": [[2]]}}
