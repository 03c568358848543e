"""Publishes which versions should be live, and why the newest files of a model are not.

The manifest is the truth that workers follow; the signal after each write is a hint to
read it now.
"""

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gomlx.models import files
from gomlx.models.version import Manifest, ModelVersion, Staging

log = logging.getLogger(__name__)

_KEPT_VERSIONS = 2  # the live one, and the one that workers may still be draining


class Publisher:
    """The only writer of the manifest; signal_workers is called after each change."""

    def __init__(self, path: Path, signal_workers: Callable[[], None]) -> None:
        self._path = path
        self._signal_workers = signal_workers
        self._manifest = Manifest()
        self._is_unwritten = False
        self._is_failing = False

    def start(self) -> None:
        """Write an empty manifest: workers may start before any model is staged."""
        self._manifest.write(self._path)

    @property
    def has_versions(self) -> bool:
        """Whether a model is live, or about to be."""
        return bool(self._manifest.versions)

    def publish(self, version: ModelVersion) -> None:
        """Make a staged version the live one. Raises OSError."""
        name = version.name
        old = self._manifest.versions.get(name)
        self._manifest.failures.pop(name, None)
        self._set_refused(name, False)
        self._count(name, "unchanged" if old == version else "published")
        if old != version:
            self._manifest.versions[name] = version
            log.info("model %s: publishing version %s", name, version.digest)
            _log_signatures(version, old)
        self._manifest.write(self._path)
        self._signal_workers()
        _remove_old_versions(version, old)

    def note_staging(self, name: str, seconds: float) -> None:
        """Note that a staging has succeeded, for the next `publish`."""
        self._manifest.stagings[name] = Staging(seconds, time.time())

    def note_restarts(self, restarts: int) -> None:
        """Note how often Gunicorn was started anew, for the next `keep`."""
        if restarts != self._manifest.restarts:
            self._manifest = replace(self._manifest, restarts=restarts)
            self._is_unwritten = True

    def damages(self) -> dict[str, str]:
        """Return model → which file of its published version is gone or was changed.

        For any thread.
        """
        found = {}
        for name, version in self._manifest.versions.copy().items():
            for one in (version, *version.further):
                if damage := files.damage(one.directory):
                    found[name] = damage
        return found

    def expect(self, name: str) -> None:
        """Note a model that has come, or changed, while the service runs.

        Balancers must not leave the service for one that is not ready yet.
        """
        manifest = self._manifest
        if name not in manifest.versions and name not in manifest.added:
            manifest.added.append(name)
        self._is_unwritten = True
        self.keep()

    def withdraw(self, name: str) -> None:
        """Have a model live no longer."""
        manifest = self._manifest
        manifest.versions.pop(name, None)
        manifest.failures.pop(name, None)
        manifest.stagings.pop(name, None)
        manifest.added[:] = [other for other in manifest.added if other != name]
        self._set_refused(name, False)
        self._is_unwritten = True
        self.keep()

    def report_failure(self, name: str, reason: str, may_pass: bool) -> None:
        """Record why staging failed. The same reason again is not reported again.

        may_pass: without a change of the files or the config.
        """
        if self._manifest.failures.get(name) == reason:
            return
        self._manifest.failures[name] = reason
        self._set_refused(name, not may_pass)
        self._count(name, "failed")
        self._is_unwritten = True
        self.keep()
        live = self._manifest.versions.get(name)
        stays = f"; version {live.digest} stays live" if live else ""
        log.error("model %s cannot be staged: %s%s", name, reason, stays)

    def keep(self) -> None:
        """Write the manifest if it could not be written before, or was removed."""
        if self._path.exists() and not self._is_unwritten:
            return
        try:
            self._manifest.write(self._path)
        except OSError as error:
            if not self._is_failing:  # logged once, until it succeeds
                log.error("cannot tell workers of versions and failures: %s", error)
            self._is_failing = True
        else:
            self._is_unwritten = False
            self._is_failing = False
            self._signal_workers()

    def _set_refused(self, name: str, is_refused: bool) -> None:
        others = [other for other in self._manifest.refused if other != name]
        self._manifest.refused[:] = [*others, name] if is_refused else others

    def _count(self, name: str, outcome: str) -> None:
        counts = self._manifest.reloads.setdefault(name, {})
        counts[outcome] = counts.get(outcome, 0) + 1


def _log_signatures(version: ModelVersion, old: ModelVersion | None) -> None:
    """Log which further signatures are served, and anew which are refused, and why."""
    served = ", ".join(one.signature for one in version.further)
    if served:
        log.info("model %s: further signatures: %s", version.name, served)
    known = old.refused if old else {}
    for name, reason in version.refused.items():
        if known.get(name) != reason:
            log.warning("model %s is not served: %s", name, reason)


def _remove_old_versions(live: ModelVersion, old: ModelVersion | None) -> None:
    """Remove staged versions, except the live one and the newest of the others."""
    current = {live.directory}
    if old is not None:
        current.add(old.directory)
    others = [
        path
        for path in live.directory.parent.iterdir()
        if path not in current and not path.name.startswith(".")
    ]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    kept = max(_KEPT_VERSIONS - len(current), 0)
    for path in others[kept:]:
        shutil.rmtree(path, ignore_errors=True)
