"""Health and readiness, of models that are live, failed or both."""

from typing import Any, cast

from gomlx.models.serving.current import Current
from gomlx.server.http.tls.certificates import Certificates
from gomlx.server.routes.health import Health
from tests.server.routes.states import MODELS, FakeCertificates, current, manifest


def health(found: Current, tiers: dict[str, Any], tls: bool = False) -> Health:
    certificates = cast(Certificates, FakeCertificates()) if tls else None
    return Health(found, manifest, lambda: tiers, certificates)


def test_it_is_not_ready_while_a_model_has_no_live_version() -> None:
    found = current("fine", "stale")
    found.reasons["absent"] = "no such bucket"
    status, document = health(found, {}).ready()
    assert status == 503
    assert document == {
        "ready": False,
        "models": {
            "fine": {"ready": True, "version": "f" * 32},
            "stale": {"ready": True, "version": "s" * 32, "problem": "half a copy"},
            "absent": {"ready": False, "version": None, "problem": "no such bucket"},
        },
    }


def test_a_live_version_is_enough_to_be_ready() -> None:
    tiers = {"s": {"near": {"state": "open"}}}
    status, document = health(current(*MODELS), tiers, tls=True).ready()
    assert (status, document["ready"], document["tiers"]) == (200, True, tiers)
    assert document["tls"] == {"certificate_expires": "3000-01-01T00:00:00Z"}


def test_health_is_whether_the_newest_files_are_live() -> None:
    status, document = health(current("fine", "stale"), {}).health()
    assert (status, document) == (200, {"fine": 1, "stale": 0, "absent": 0})
