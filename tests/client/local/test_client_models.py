"""The versions that a client has, and which of them is current."""

import logging
from dataclasses import replace

import pytest

from gomlx.client.answer import AnswerEntry, AnswerOrigin
from gomlx.client.local.client_model import ClientModel
from gomlx.client.local.client_models import ClientModels
from gomlx.contract.document import Contract
from gomlx.errors import BadResponse
from tests.client.fake import QUIET, VERSION, contract

NEW = contract("b" * 32)
NEWEST = contract("c" * 32)
NOW = 0.0  # before any entry expires


def read(models: ClientModels, given: Contract, etag: str = "") -> ClientModel:
    return models.read(given.dump(), etag)


def store(client_model: ClientModel, x: float) -> None:
    origin = AnswerOrigin(client_model.version, "model", False)
    client_model.store((x,), (x,), AnswerEntry(b"{}", {}, origin))


def has(client_model: ClientModel, x: float) -> bool:
    return client_model.lookup({"x": x}, NOW) is not None


def test_a_given_contract_is_current() -> None:
    models = ClientModels(QUIET, contract())
    assert models.current
    assert models.current.version == VERSION
    assert ClientModels(QUIET).current is None


def test_an_equal_contract_is_the_same_client_model() -> None:
    models = ClientModels(QUIET, contract())
    assert read(models, contract()) is models.current
    assert not models.adopt(read(models, contract()))


def test_the_etag_is_the_services() -> None:
    models = ClientModels(QUIET, contract())
    assert models.current
    assert models.current.etag == f'"{contract().tag}"'
    read(models, contract(), '"another"')
    assert models.current.etag == '"another"'
    read(models, contract())
    assert models.current.etag == '"another"'


def test_a_new_version_has_no_answers(caplog: pytest.LogCaptureFixture) -> None:
    models = ClientModels(QUIET, contract())
    assert models.current
    store(models.current, 1.0)
    with caplog.at_level(logging.INFO, "gomlx.client"):
        assert models.adopt(read(models, NEW))
    assert caplog.messages == [f"version {NEW.version} instead of {VERSION}"]
    assert models.current.version == NEW.version
    assert not has(models.current, 1.0)


def test_a_rollback_finds_the_kept_answers() -> None:
    models = ClientModels(QUIET, contract())
    first = models.current
    assert first
    store(first, 1.0)
    models.adopt(read(models, NEW))
    assert models.adopt(read(models, contract()))
    assert models.current is first
    assert has(first, 1.0)


def test_only_two_versions_stay() -> None:
    models = ClientModels(QUIET, contract())
    first = models.current
    for given in (NEW, NEWEST):
        models.adopt(read(models, given))
    assert read(models, contract()) is not first
    assert read(models, NEWEST) is models.current


@pytest.mark.parametrize(("seconds", "stays"), [(600.0, True), (5.0, False)])
def test_new_settings_keep_the_answers_unless_they_live_shorter(
    seconds: float, stays: bool
) -> None:
    models = ClientModels(QUIET, contract())
    old = models.current
    assert old
    store(old, 1.0)
    assert models.adopt(read(models, replace(contract(), ttl_seconds=seconds)))
    assert models.current is not old
    assert models.current
    assert has(models.current, 1.0) is stays


@pytest.mark.parametrize("document", [b"", b"[]", b'{"format":9}', b'{"format":1}'])
def test_a_document_that_is_no_contract(document: bytes) -> None:
    with pytest.raises(BadResponse, match="not a contract"):
        ClientModels(QUIET).read(document)


def test_in_a_child_nothing_is_current_until_it_resumes() -> None:
    models = ClientModels(QUIET, contract())
    parent = models.current
    for _ in range(2):  # a child may fork, too
        models.park()
        assert models.current is None
    models.resume()
    assert models.current is parent
    models.adopt(read(models, NEW))
    models.resume()
    assert models.current is not parent
