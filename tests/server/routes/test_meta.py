"""The documents of /meta/, and which rows share an answer, of a real service."""

import gzip
from collections.abc import Iterator
from random import Random
from typing import Any

import httpx
import pytest

from gomlx.contract.dictionary import Dictionary
from gomlx.contract.document import Contract
from tests.support import saved_models
from tests.support.families.buckets import buckets
from tests.support.service import Service, running

CODE = "def label(inputs, outputs):\n    return {'for': inputs['who'], **outputs}\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("meta")
    saved_models.keras(folder / "keras")
    saved_models.lookup(folder / "large", [f"word-{n:05}" for n in range(20_000)])
    buckets(folder / "buckets")
    (folder / "labels.py").write_text(CODE)
    inputs: list[dict[str, Any]] = [
        {"name": "price", "precision": 1},
        {"name": "who", "auxiliary": True},
        {"name": "trace", "auxiliary": True},
    ]
    keras = {"inputs": inputs, "key_fields": ["who"], "transformer": "labels:label"}
    models: list[dict[str, Any]] = [
        {"id": "keras", "url": "./keras", "datastore": "s", **keras},
        {"id": "large", "url": "./large", "datastore": "s"},
        {"id": "buckets", "url": "./buckets", "datastore": "s"},
    ]
    config = {"models": models, "datastores": [{"id": "s", "memory_mb": 8}]}
    with running(folder, config) as service:
        yield service


def meta(service: Service, model: str, what: str) -> Any:
    return service.get(f"/v1/api/model/{model}/meta/{what}").json()


def test_config_describes_how_each_input_is_keyed(service: Service) -> None:
    document = meta(service, "keras", "config")
    assert document["Inputs"] == [
        {"Name": "city", "Index": 0, "DataType": "string"},
        {"Name": "day", "Index": 1, "DataType": "int64"},
        {"Name": "price", "Index": 2, "DataType": "float", "Precision": 1},
        {"Name": "trace", "Index": 3, "DataType": "string", "Auxiliary": True},
        {
            "Name": "who",
            "Index": 4,
            "DataType": "string",
            "Auxiliary": True,
            "Wildcard": True,
        },
    ]
    assert document["KeyFields"] == ["city", "day", "price", "who"]
    inputs = meta(service, "buckets", "config")["Inputs"]
    assert [field.get("Wildcard") for field in inputs] == [True, True]


def test_config_has_the_keys_of_mly_in_their_order(service: Service) -> None:
    """PascalCase; those that mly omits when they are zero are not there."""
    document = meta(service, "large", "config")
    cache = {"MaxEntries": 0, "EntrySize": 0, "SizeMb": 8, "Shards": 0, "Location": ""}
    expected = {
        "Connections": None,
        "ID": "large",
        "Cache": cache,
        "Connection": "",
        "Namespace": "",
        "Dataset": "",
        "TimeToLiveMs": 3_600_000,
        "Storable": "",
        "Fields": [{"Name": "y", "DataType": ""}],
        "Inputs": [{"Name": "word", "Index": 0, "DataType": "string"}],
        "KeyFields": ["word"],
        "Outputs": [{"Name": "y", "Index": 0, "DataType": "float32"}],
    }
    assert list(document.items()) == list(expected.items())


def test_dictionary_holds_the_sorted_vocabularies(service: Service) -> None:
    document = meta(service, "keras", "dictionary")
    city, day = document["Layers"]
    assert list(city) == ["Name", "Strings", "Ints", "Hash"]
    assert city["Name"] == "city"
    assert (city["Strings"], city["Ints"]) == (["lima", "oslo", "rome"], None)
    assert (day["Strings"], day["Ints"]) == (None, [1, 2, 3])
    assert city["Hash"] != day["Hash"]
    bare = meta(service, "buckets", "dictionary")
    assert list(bare) == ["Layers", "Hash"]
    assert bare["Layers"] is None


@pytest.mark.parametrize("model", ["keras", "large", "buckets"])
def test_its_hash_is_that_of_every_response(service: Service, model: str) -> None:
    rows: dict[str, dict[str, Any]] = {
        "keras": {"city": "rome", "day": 1, "price": 1, "who": 1, "trace": 0},
        "large": {"word": "word-00007"},
        "buckets": {"x": 1, "n": 1},
    }
    answer = service.post(model, rows[model]).json()
    assert answer["dictHash"] == meta(service, model, "dictionary")["Hash"] != 0


@pytest.mark.parametrize(
    ("accepted", "zipped"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("gzip;q=0", False), ("", False)],
)
def test_large_documents_are_gzipped_on_request(
    service: Service, accepted: str, zipped: bool
) -> None:
    path = "/v1/api/model/large/meta/dictionary"
    headers = {"Accept-Encoding": accepted}
    with service.client.stream("GET", path, headers=headers) as response:
        body = b"".join(response.iter_raw())
    assert response.headers.get("Content-Encoding") == ("gzip" if zipped else None)
    text = gzip.decompress(body) if zipped else body
    assert text.startswith(b'{"Layers":[{"Name":"word","Strings":["word-00000",')


def test_an_unknown_model_is_404(service: Service) -> None:
    for what in ("dictionary", "contract"):
        response = service.get(f"/v1/api/model/nothing/meta/{what}")
        assert response.status_code == 404


def test_the_contract_holds_everything_that_keys_are_made_of(service: Service) -> None:
    response = service.get("/v1/api/model/keras/meta/contract")
    contract = Contract.parse(response.content)
    assert response.headers["ETag"] == f'"{contract.tag}"'
    assert (contract.model, contract.version) == ("keras", service.version("keras"))
    assert [t.name for t in contract.signature.fields] == [
        "city",
        "day",
        "price",
        "trace",
        "who",
    ]
    kinds = {"city": "vocabulary", "day": "vocabulary", "price": "rounded"}
    kinds |= {"trace": "auxiliary", "who": "auxiliary"}
    assert [kind.kind for kind in contract.kinds] == list(kinds.values())
    assert contract.transforms
    assert contract.ttl_seconds == 3600
    assert (contract.max_rows, contract.max_body_bytes) == (4096, 1 << 20)


def test_the_contract_is_sent_unless_the_client_has_it(service: Service) -> None:
    path = "/v1/api/model/large/meta/contract"
    tag = service.get(path).headers["ETag"]
    version = f'"{service.version("large")}"'  # with whatever settings
    cases = {tag: 304, f'"x", {tag}': 304, f"W/{tag}": 304}
    cases |= dict.fromkeys(('"x"', "*", version), 200)
    for tags, code in cases.items():
        headers = {"If-None-Match": tags, "Accept-Encoding": "gzip"}
        response = service.client.get(path, headers=headers)
        assert response.status_code == code
        assert response.headers["ETag"] == tag
        assert bool(response.content) == (code == 200)
        if code == 200:
            assert response.headers["Content-Encoding"] == "gzip"
            assert Contract.parse(response.content).tag == tag.strip('"')


def status(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    found: str = response.headers["Cache-Status"]
    return found.split(";")[1].strip()


def test_rows_that_the_model_cannot_distinguish_share_an_answer(
    service: Service,
) -> None:
    base = {"city": "x", "day": 99, "price": 2.04, "who": "me", "trace": 1}
    first = service.post("keras", base)
    assert status(first) == "fwd=miss"
    assert first.json()["data"]["for"] == "me"
    twin = {"city": "y", "day": -5, "price": 1.96, "who": "me", "trace": "other"}
    again = service.post("keras", twin)
    assert status(again) == "hit"
    assert again.json()["data"] == first.json()["data"]
    for change in ({"city": "rome"}, {"day": 1}, {"price": 2.06}, {"who": None}):
        assert status(service.post("keras", base | change)) == "fwd=miss"


def test_auxiliary_inputs_are_required(service: Service) -> None:
    response = service.post("keras", {"city": "x", "day": 1, "price": 2, "who": "me"})
    assert response.status_code == 400
    assert "'trace'" in response.json()["error"]
    wrong = {"city": "x", "day": 2**63, "price": 2, "who": "me", "trace": 1}
    assert service.post("keras", wrong).status_code == 400


def explained(service: Service, model: str, body: Any) -> httpx.Response:
    return service.client.post(f"/v1/api/model/{model}/meta/key", json=body)


def test_inspect_tells_of_each_input_what_the_command_does(service: Service) -> None:
    document = meta(service, "keras", "inspect")
    assert (document["model"], document["version"]) == (
        "keras",
        service.version("keras"),
    )
    inputs = {one["input"]: one for one in document["inputs"]}
    assert inputs["city"]["kind"] == "vocabulary"
    assert inputs["city"]["distinct"] == 4
    assert inputs["price"]["distinct"] is document["key_space"] is None
    assert inputs["trace"]["distinct"] == 1  # in no key
    assert document["examples"] == {"city": ["lima", "oslo", "rome"], "day": [1, 2, 3]}
    assert len(document["signature"]["auxiliaries"]) == 2
    large = meta(service, "large", "inspect")
    assert large["key_space"] == 20_001
    assert len(large["examples"]["word"]) == 12


def test_a_key_is_the_one_that_clients_make(service: Service) -> None:
    """Of rows at random, of known and unknown values, many to a request."""
    path = "/v1/api/model/keras/meta/contract"
    contract = Contract.parse(service.get(path).content)
    dictionary = Dictionary(contract.version, contract.signature, contract.kinds)
    random = Random(5)
    for _ in range(20):
        rows = [
            {
                "city": random.choice(["rome", "oslo", "", "Ω", "<b>"]),
                "day": random.choice([1, 2, 3, -9, 2**63 - 1]),
                "price": random.uniform(-9, 9),
                "who": random.choice(["me", 1.5, None, True]),
                "trace": random.random(),
            }
            for _ in range(16)
        ]
        found = explained(service, "keras", rows).json()
        checked = [contract.signature.check(row).rows[0] for row in rows]
        keys = dictionary.keys(dictionary.canonical(checked))
        assert [one["key"] for one in found["questions"]] == [k.hex() for k in keys]
        assert "trace" not in found["differing"]


def test_a_key_comes_with_what_collapsed_and_rows_are_compared(
    service: Service,
) -> None:
    base = {"city": "x", "day": 1, "price": 2.04, "who": "me", "trace": 1}
    twin = base | {"city": "y", "price": 1.96, "trace": 2}
    found = explained(service, "keras", [base, twin]).json()
    first, second = found["questions"]
    assert first["key"] == second["key"]
    assert found["differing"] == []
    assert first["canonical"]["price"] == second["canonical"]["price"]
    assert "not among the 3 values" in first["collapsed"]["city"]
    assert "rounded to 1 decimals" in first["collapsed"]["price"]
    assert "day" not in first["collapsed"]
    other = explained(service, "keras", [base, base | {"day": 2, "who": 0}]).json()
    assert other["differing"] == ["day", "who"]
    alone = explained(service, "keras", base).json()
    assert alone["questions"] == [first]
    assert alone["version"] == service.version("keras")


@pytest.mark.parametrize(
    ("model", "body", "status_code", "says"),
    [
        ("keras", {"city": "x"}, 400, "missing"),
        ("keras", [], 400, "1 to 16 rows"),
        ("large", [{"word": "a"}] * 17, 400, "1 to 16 rows"),
        ("large", {"word": ["a", "b"], "batch_size": 2}, 400, "one row"),
        ("large", {"word": "a" * 70_000}, 413, "larger than 32767"),
        ("nothing", {}, 404, "nothing"),
    ],
)
def test_what_has_no_key_is_refused(
    service: Service, model: str, body: Any, status_code: int, says: str
) -> None:
    response = explained(service, model, body)
    assert response.status_code == status_code
    assert says in response.json()["error"]
