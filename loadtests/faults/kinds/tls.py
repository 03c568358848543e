"""The files of TLS are broken, or gone; the load is over TLS."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from loadtests.faults.fault import Fault
from loadtests.faults.scene import Scene
from tests.support.certificates import Endpoint

Break = Callable[[Endpoint], object]


def _garbage(files: Endpoint) -> None:
    files.certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n")


def _other_key(files: Endpoint) -> None:
    key = files.key.read_bytes()
    files.issue()
    files.key.write_bytes(key)


def _gone(files: Endpoint) -> None:
    files.certificate.unlink()
    files.key.unlink()


@contextmanager
def _broken(breaks: Break, scene: Scene) -> Iterator[None]:
    """Break the files, and make good ones in the end."""
    files = scene.tls
    assert files
    breaks(files)
    yield
    files.issue()


@contextmanager
def _broken_and_a_worker_dies(breaks: Break, scene: Scene) -> Iterator[None]:
    """A worker has to start with files that it cannot use."""
    with _broken(breaks, scene):
        scene.kill([scene.busiest()])
        yield


FAULTS = (
    Fault("the certificate is garbage", partial(_broken, _garbage)),
    Fault("the key is of another certificate", partial(_broken, _other_key)),
    Fault("certificate and key are gone", partial(_broken, _gone)),
    Fault(
        "certificate and key are gone, and a worker dies",
        partial(_broken_and_a_worker_dies, _gone),
    ),
)
