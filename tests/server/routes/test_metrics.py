"""The state of models and of the certificate, as Prometheus scrapes it."""

from typing import Any, cast

import gomlx
from gomlx.server.http.tls.certificates import Certificates
from gomlx.server.routes.metrics import ServiceState, StateMetrics
from tests.server.routes.states import FakeCertificates, current, manifest


def samples(certificates: FakeCertificates | None = None) -> dict[str, Any]:
    given = cast(Certificates, certificates) if certificates else None
    service = ServiceState(2, lambda: True)
    states = StateMetrics(current("fine", "stale"), manifest, service, given)
    return {metric.name: metric.samples for metric in states.scrape()}


def test_the_state_of_models_is_scraped() -> None:
    found = samples()
    (((version, _, _), is_one),) = found.pop("gomlx_build_info")
    assert version == gomlx.__version__
    assert is_one == 1
    assert found == {
        "gomlx_model_info": [(("fine", "a" * 32), 1), (("stale", "b" * 32), 1)],
        "gomlx_model_up": [(("fine",), 1), (("stale",), 0), (("absent",), 0)],
        "gomlx_model_joins_rows": [(("fine",), 1), (("stale",), 0)],
        "gomlx_reloads_total": [
            (("fine", "published"), 2),
            (("stale", "published"), 1),
            (("stale", "failed"), 3),
        ],
        "gomlx_last_staging_seconds": [(("fine",), 2.5)],
        "gomlx_last_staging_timestamp_seconds": [(("fine",), 1.7e9)],
        "gomlx_workers_configured": [((), 2)],
        "gomlx_gunicorn_restarts_total": [((), 4)],
        "gomlx_draining": [((), 1)],
    }


def test_the_state_of_certificates_is_scraped() -> None:
    found = samples(FakeCertificates(problem="the certificate has expired"))
    (expires,) = found["gomlx_tls_certificate_expiry_timestamp_seconds"]
    assert expires == ((), 32_503_680_000.0)
    assert found["gomlx_tls_up"] == [((), 0)]
    assert samples(FakeCertificates())["gomlx_tls_up"] == [((), 1)]
