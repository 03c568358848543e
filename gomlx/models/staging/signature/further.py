"""Further signatures of a version: staged beside it, each refused alone.

    DIGEST/signatures.json      what came of them, if trying again would change nothing
    DIGEST/signatures/DIGEST/   one of them: a version of its own, whose weights are
                                links to equal ones of the others

A signature that computes what another one does is another name for it.
"""

import filecmp
import os
import re
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gomlx.errors import StageFailed, StageInterrupted
from gomlx.models import files, libraries
from gomlx.models.serving import session as tf_session
from gomlx.models.serving.transformer import NO_CODE, Code
from gomlx.models.staging.check import example_row
from gomlx.models.staging.failures import translated
from gomlx.models.staging.prepare import prepare
from gomlx.models.staging.progress import Progress
from gomlx.models.staging.signature.bind import (
    BoundSignature,
    bound_signature,
    public_signatures,
)
from gomlx.models.staging.signature.computation import computation
from gomlx.models.version import ModelVersion, StageRequest
from gomlx.models.writing import copy_links
from gomlx.runtime.masking import masked

_is_name = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}").fullmatch


@dataclass(frozen=True)
class Fetched:
    """A fetched SavedModel, of which large files may be links to the source's.

    digest: that of the version which a request asks for. check: raises StageFailed if
    the source's files are others by now.
    """

    saved_model: Path
    digest: Callable[[StageRequest], str]
    check: Callable[[], None]

    def stage(
        self,
        request: StageRequest,
        work: Path,
        progress: Progress,
        transformer: Code = NO_CODE,
    ) -> None:
        """Stage a signature into a new folder. Raises StageFailed."""
        shutil.copytree(self.saved_model, work / "saved_model", copy_function=_linked)
        transformer.write(work)
        libraries.write(work, request.settings.libraries)
        try:
            prepare(work, request, progress)
            copy_links(work / "saved_model")  # which workers restore
        except StageFailed:
            self.check()  # what was read may be of two exports
            raise
        self.check()
        files.list_files(work)


class Further:
    """The stagings of a version's further signatures."""

    def __init__(
        self,
        version: ModelVersion,
        fetched: Fetched,
        request: StageRequest,
        progress: Progress,
    ) -> None:
        self._fetched = fetched
        self._request = request
        self._progress = progress
        self._meta_graph = tf_session.parse(fetched.saved_model, request.settings.tags)
        self._own = bound_signature(self._meta_graph, request)
        self._version = replace(version, signature=self._own.name)
        self._computed: dict[bytes | None, ModelVersion] = {}

    def staged(self) -> ModelVersion:
        """Return the version with all that can be served."""
        request = self._request
        if request.settings == request.further(self._own.name, {}).settings:
            self._remember(self._own, self._version)
        further = []
        refused = {}
        may_gain = False
        for name in self._names():
            try:
                further.append(self._tried(name))
            except StageFailed as error:
                refused[f"{request.name}:{name}"] = masked(str(error))
                may_gain = may_gain or isinstance(error, StageInterrupted)
        version = replace(
            self._version, further=tuple(further), refused=refused, may_gain=may_gain
        )
        if not may_gain:
            version.record(request.signatures)
        return version

    def _names(self) -> Iterable[str]:
        if self._request.signatures is not None:
            return self._request.signatures
        public = public_signatures(self._meta_graph)
        return [name for name in public if name != self._own.name]

    def _tried(self, name: str) -> ModelVersion:
        """Stage one, unless that was done before. Raises StageFailed."""
        if not _is_name(name):
            raise StageFailed(
                "its name is not one that a request can have: letters, digits, and "
                "after the first also . and -, 128 at most"
            )
        if name in self._request.refused:
            raise StageInterrupted(self._request.refused[name])
        self._progress.on_begun(name)
        with translated(f"{self._request.name}:{name}"):
            return self._staged(name)

    def _staged(self, name: str) -> ModelVersion:
        request = self._request.further(name, {})
        bound = bound_signature(self._meta_graph, request)
        if same := self._computed.get(computation(self._meta_graph, bound)):
            return replace(same, name=request.name, signature=name)
        version = self._in_place(replace(request, example=self._example(bound)))
        self._remember(bound, version)
        return version

    def _remember(self, bound: BoundSignature, version: ModelVersion) -> None:
        computed = computation(self._meta_graph, bound)
        if computed is not None:
            self._computed[computed] = version

    def _in_place(self, request: StageRequest) -> ModelVersion:
        """Stage one below the version's directory, or return it if it is there."""
        digest = self._fetched.digest(request)
        folder = self._version.directory / "signatures"
        directory = folder / digest
        if not files.keep_intact(directory):
            work = self._fetched.saved_model.with_name(digest)
            self._fetched.stage(request, work, self._progress)
            _link_equal_weights(work, self._version.directory)
            folder.mkdir(exist_ok=True)
            work.rename(directory)
        return ModelVersion(request.name, digest, directory, request.signature)

    def _example(self, bound: BoundSignature) -> dict[str, Any]:
        """Return what the config's example says of another signature's inputs.

        They are the model's own if they have its name or are its tensor.
        """
        own = dict(zip(_elements(self._own), self._own.signature.inputs, strict=True))
        given = self._request.example
        example = {}
        for elements, tensor in zip(
            _elements(bound), bound.signature.inputs, strict=True
        ):
            name = own.get(elements, tensor).name
            if name in given:
                example[tensor.name] = given[name]
        try:
            example_row(bound.signature, example)
        except StageFailed:
            return {}
        return example


def _elements(bound: BoundSignature) -> list[str]:
    return [one.elements for one in bound.binding.inputs]


def _linked(source: str, copy: str) -> None:
    """Link a file, or copy the graph: staging rewrites that."""
    with suppress(OSError):  # where there are no links
        if not Path(source).name.startswith("saved_model.pb"):
            os.link(source, copy)
            return
    shutil.copy(source, copy)


def _link_equal_weights(work: Path, version: Path) -> None:
    """Replace weights by links to equal ones that are staged: they share memory."""
    by_size: dict[int, list[Path]] = {}
    for path in version.glob("**/weights/*"):
        by_size.setdefault(path.stat().st_size, []).append(path)
    link = work / "link"
    for path in (work / "weights").iterdir():
        candidates = by_size.get(path.stat().st_size, [])
        if any(map(path.samefile, candidates)):
            continue
        equal = (one for one in candidates if filecmp.cmp(path, one, shallow=False))
        with suppress(OSError):  # where there are no links
            if (found := next(equal, None)) is not None:
                os.link(found, link)
                link.replace(path)
