"""The endpoint's files: changes are followed, and `gomlx check` tries them."""

import asyncio
import json
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from gomlx.config.schema import Tls
from gomlx.server.http.tls.certificates import Certificates
from tests.cli.test_cli import gomlx
from tests.support import saved_models
from tests.support.certificates import Endpoint, handshake

PAST = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def files(tmp_path: Path) -> Endpoint:
    return Endpoint(tmp_path / "tls")


def serial(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """The number of the certificate that a new connection is shown."""
    shown = handshake(server, client).getpeercert()
    assert shown
    number = shown["serialNumber"]
    assert isinstance(number, str)
    return number


async def until_logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    async with asyncio.timeout(60):
        while text not in caplog.text:
            await asyncio.sleep(0.005)
    caplog.clear()


@pytest.mark.asyncio
async def test_changed_files_are_loaded_once_they_are_valid(
    files: Endpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    mine = {"client_ca": str(files.ca), "client_certificate": "required"}
    certificates = Certificates(Tls(**files.config(**mine)))
    context = certificates.context
    client = files.trust()
    first = serial(context, client)
    files.issue()  # before the worker was started
    following = asyncio.create_task(certificates.follow(0.01))
    await until_logged(caplog, "valid until 3000-01-01")
    second = serial(context, client)
    files.certificate.write_text(files.certificate.read_text()[:300])
    await until_logged(caplog, "the certificate in use stays")
    assert certificates.detail()["problem"].startswith("endpoint.tls: certificate: ")
    files.certificate.unlink()
    await until_logged(caplog, "No such file")
    assert serial(context, client) == second
    files.issue(not_after=PAST)
    await until_logged(caplog, "the certificate has expired")
    assert certificates.detail()["certificate_expires"] == "2020-01-01T00:00:00Z"
    files.issue()
    await until_logged(caplog, "valid until 3000-01-01")
    assert certificates.problem is None
    assert len({first, second, serial(context, client)}) == 3
    files.ca.write_bytes(Endpoint(tmp_path / "other").ca.read_bytes())
    await until_logged(caplog, "valid until 3000-01-01")
    with pytest.raises(ssl.SSLError, match="VERIFY_FAILED"):
        handshake(context, client)
    following.cancel()


def config(folder: Path, tls: dict[str, Any]) -> Path:
    path = folder / "config.yaml"
    endpoint = {"port": 0, "tls": tls}
    document = {"endpoint": endpoint, "models": [{"id": "m", "url": "./m"}]}
    path.write_text(yaml.safe_dump(document))
    return path


def test_check_tries_the_files(files: Endpoint, tmp_path: Path) -> None:
    given = {"certificate": "tls/server.pem", "key": "tls/server.key"}
    config(tmp_path, given)
    saved_models.scale(tmp_path / "m", 2.0)
    done = gomlx("check", "config.yaml", "--quick", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "certificate expires 3000-01-01" in done.stdout
    files.issue(not_after=PAST)
    done = gomlx("check", "config.yaml", "--quick", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert (done.returncode, found["connections"]) == (0, [])
    assert found["certificate_expires"].startswith("2")
    assert "warning: the certificate has expired" in done.stderr
    files.key.unlink()
    for command in (["check"], ["serve", "-c"]):
        done = gomlx(*command, "config.yaml", cwd=tmp_path)
        assert done.returncode == 2
        assert "endpoint.tls: key: " in done.stderr
        assert "Traceback" not in done.stderr
