"""What is proved of inputs: which collapse, and which must not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from gomlx.contract.canonical import Buckets, Exact, Kind, Rounded, Vocabulary
from gomlx.errors import StageFailed
from gomlx.models.serving.servable import Description, Servable
from gomlx.models.version import InputSettings, ModelVersion, Settings
from tests.support import saved_models
from tests.support.families import (
    COLLAPSING,
    EXACT,
    ROWS_APART,
    buckets,
    keras_models,
    parts,
)
from tests.support.saved_models import save, spec

Stage = Callable[..., ModelVersion]


def kinds(version: ModelVersion) -> dict[str, Kind]:
    servable = Servable(version)
    return dict(zip(servable.signature.names, servable.dictionary.kinds, strict=True))


@pytest.mark.parametrize("family", COLLAPSING)
def test_what_is_proved(tmp_path: Path, staged: Stage, family: str) -> None:
    make, expected = COLLAPSING[family]
    version = staged(make(tmp_path / "m"))
    found = kinds(version)
    assert Description.read(version.directory).joins_rows is (family not in ROWS_APART)
    assert {name: kind.kind for name, kind in found.items()} == expected


@pytest.mark.parametrize("family", EXACT)
def test_what_is_not_proved_is_exact(
    tmp_path: Path, staged: Stage, family: str
) -> None:
    make, expected = EXACT[family]
    version = staged(make(tmp_path / "m"))
    found = kinds(version)
    assert Description.read(version.directory).joins_rows is (family not in ROWS_APART)
    assert {n for n, kind in found.items() if kind.kind == "exact"} == set(expected)
    assert all(found[name].proof for name in expected)


def test_models_of_tensorflow_2_4(staged: Stage, legacy_models: Path) -> None:
    found = kinds(staged(legacy_models / "string_lookups_float_model"))
    assert {name: kind.kind for name, kind in found.items()} == {
        "sa": "vocabulary",
        "sl": "vocabulary",
    }
    (sa,) = (k for k in [found["sa"]] if isinstance(k, Vocabulary))
    assert sa.known == {"", "[UNK]", "a", "b", "c"}
    assert sa.unknown == "[UNK]_"
    found = kinds(staged(legacy_models / "float_input_float_model", name="f"))
    assert {n: k.kind for n, k in found.items()} == {"fl": "exact", "sl": "vocabulary"}


def test_the_vocabulary_is_that_of_all_consumers(tmp_path: Path, staged: Stage) -> None:
    found = kinds(staged(keras_models.keras_lookups(tmp_path / "m")))
    city = found["city"]
    day = found["day"]
    assert isinstance(city, Vocabulary) and isinstance(day, Vocabulary)
    assert city.known == {"rome", "oslo", "lima", "none"}
    assert day.known == {0, 1, 2, 3}
    assert day.unknown == -1


@pytest.mark.parametrize("form", ["export", "save"])
def test_vocabularies_of_files(tmp_path: Path, staged: Stage, form: str) -> None:
    """Keras keeps the files as assets: the original ones are no longer needed."""
    import keras as k

    files = [tmp_path / "words.txt", tmp_path / "days.txt"]
    files[0].write_text("rome\noslo\n")
    files[1].write_text("11\n12\n13\n")
    city = k.Input((1,), name="city", dtype="string")
    day = k.Input((1,), name="day", dtype="int64")
    cities = k.layers.StringLookup(vocabulary=str(files[0]))
    days = k.layers.IntegerLookup(vocabulary=str(files[1]))
    model = k.Model([city, day], {"city": cities(city), "day": days(day)})
    if form == "export":
        model.export(str(tmp_path / "m"), verbose=False)
    else:
        tf.saved_model.save(model, str(tmp_path / "m"))
    for file in files:
        file.unlink()
    servable = Servable(staged(tmp_path / "m"))
    words, numbers = servable.dictionary.kinds
    assert isinstance(words, Vocabulary) and isinstance(numbers, Vocabulary)
    assert words.known >= {"rome", "oslo"} and numbers.known >= {11, 12, 13}
    rows = servable.dictionary.canonical([("oslo", 13), ("lima", 14), ("rome", 11)])
    assert servable.run(rows) == [
        b'{"city":2,"day":3}',
        b'{"city":0,"day":0}',
        b'{"city":1,"day":1}',
    ]


def test_when_all_values_are_known_none_is_unknown(
    tmp_path: Path, staged: Stage
) -> None:
    table = parts.static_table(np.arange(-128, 128))

    def f(n: Any) -> Any:
        return {"y": table.lookup(tf.cast(n, tf.int64))}

    kind = kinds(staged(save(tmp_path / "m", f, [spec("n", "int8")], table)))["n"]
    assert isinstance(kind, Vocabulary)
    assert kind.unknown is None
    assert kind.distinct == 256


def test_words_that_are_not_utf_8(tmp_path: Path, staged: Stage) -> None:
    table = parts.static_table([b"\xff", b"a"])
    source = save(
        tmp_path / "m", lambda w: {"y": table.lookup(w)}, [parts.text()], table
    )
    kind = kinds(staged(source))["w"]
    assert isinstance(kind, Vocabulary)
    assert kind.known == {b"\xff", "a"}


def test_thresholds_are_those_of_all_consumers(tmp_path: Path, staged: Stage) -> None:
    found = kinds(staged(buckets.buckets(tmp_path / "m")))
    x = found["x"]
    n = found["n"]
    assert isinstance(x, Buckets) and isinstance(n, Buckets)
    assert len(x.thresholds) == 5  # 0.1 is in both
    # Bucketize compares in float32, which holds no odd number there.
    assert n.thresholds == (-3, 16777219, 33554431)


def test_an_unused_input_has_one_value(tmp_path: Path, staged: Stage) -> None:
    def f(x: Any, unused: Any) -> Any:
        return {"y": x + number_of_rows(unused)}

    source = save(tmp_path / "m", f, [spec("x"), spec("unused", "string")])
    kind = kinds(staged(source))["unused"]
    assert isinstance(kind, Vocabulary)
    assert kind.canonical_column(["a", ""]) == ["", ""]


def test_an_input_that_is_a_loop_condition(tmp_path: Path, staged: Stage) -> None:
    def f(go: Any) -> Any:
        def turn(_: Any, turns: Any) -> Any:
            return tf.constant(False), turns + 1.0

        start = (go[0, 0], tf.constant(0.0))
        turns = tf.while_loop(lambda go, _: go, turn, start)[1]
        return {"y": tf.fill(tf.shape(go), turns)}

    version = staged(save(tmp_path / "m", f, [spec("go", "bool")]))
    kind = kinds(version)["go"]
    assert isinstance(kind, Exact)
    assert "the condition of a loop" in kind.proof
    assert not Description.read(version.directory).joins_rows


def number_of_rows(tensor: Any) -> Any:
    return tf.cast(tf.shape(tensor)[0] * 0, tf.float32)


def test_the_config_has_precedence(tmp_path: Path, staged: Stage) -> None:
    settings = Settings(
        (InputSettings("price", 1), InputSettings("city", wildcard=True))
    )
    source = saved_models.keras(tmp_path / "m")
    found = kinds(staged(source, settings=settings))
    assert isinstance(found["price"], Rounded)
    assert isinstance(found["city"], Exact)
    assert isinstance(found["day"], Vocabulary)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            Settings((InputSettings("town", 1),)),
            "the model has no 'town'; it has: city, day, price",
        ),
        (Settings((InputSettings("city", 1),)), "only floats have a precision"),
        (Settings((InputSettings("town", wildcard=True),)), "the model has no 'town'"),
        (
            Settings((InputSettings("city", auxiliary=True),)),
            "'city' is the model's own",
        ),
        (
            Settings((InputSettings("batch_size", auxiliary=True),)),
            "may not be named 'batch_size'",
        ),
        (Settings(key_fields=("town",)), "key_fields: there is no input 'town'"),
    ],
)
def test_settings_that_do_not_fit_the_model(
    tmp_path: Path, staged: Stage, settings: Settings, message: str
) -> None:
    source = saved_models.keras(tmp_path / "m")
    with pytest.raises(StageFailed, match=message):
        staged(source, settings=settings)
