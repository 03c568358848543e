"""Where a model comes from: a SavedModel, or a folder of numbered versions.

It may be a local path or any URL that fsspec supports (s3, gs, http, …). Only the files
that serving reads count: saved_model.pb, variables/ and assets/. Instead of a
SavedModel there may be one .keras file, which staging exports.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from gomlx.errors import StageFailed, StageInterrupted
from gomlx.models.foreign import advice
from gomlx.models.writing import PIECE_BYTES, FlushedFile
from gomlx.runtime.masking import masked

_SERVED = re.compile(r"saved_model\.pb(txt)?|(variables|assets)/.+")
_KERAS = re.compile(r"[^/]+\.keras")
_LARGE = re.compile(r"variables/.+|[^/]+\.keras")
_SAVED_MODEL = {"saved_model.pb", "saved_model.pbtxt"}
# What local files have, and what the stores of fsspec have, each its own.
_STAMP_KEYS = (
    "size",
    "mtime",
    "ino",
    "LastModified",
    "ETag",
    "etag",
    "md5Hash",
    "updated",
)


@dataclass(frozen=True)
class Snapshot:
    """The state of a source at one moment.

    root is the folder of what would be served; files holds the name of each file, and a
    stamp that changes with its content.
    """

    root: str
    files: tuple[tuple[str, str], ...]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.files]


class Source:
    """A model's URL, opened. Raises StageFailed if fsspec does not support it."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise StageFailed(masked(f"{url}: {error}")) from None

    @property
    def local_path(self) -> Path | None:
        """The path, if it is on this machine, whose kernel can then watch it."""
        is_local = "file" in _protocols(self._files)
        return Path(self._root) if is_local else None

    def snapshot(self) -> Snapshot | None:
        """Return the state of the newest version; None if there is no model.

        Raises StageInterrupted if the source cannot be read, StageFailed if what is
        there must be exported first.
        """
        with self._translated():
            self._files.invalidate_cache()
            names = set(self._listed() or ())
            found = next(self._snapshots(names), None)
        if found is None and (reason := advice(names)):
            raise StageFailed(masked(f"{self.url}: {reason}"))
        return found

    def names(self) -> list[str] | None:
        """Return the names in the folder; of a file, its own; None if nothing is there.

        Raises StageInterrupted if the source cannot be read.
        """
        with self._translated():
            return self._listed()

    def fetch(self, snapshot: Snapshot, into: Path) -> str:
        """Copy a snapshot's files, and return the digest of their names and bytes.

        Of what is on this machine, the large files are not copied: there are links to
        them. Whoever reads them looks at the source again afterwards.

        Raises StageInterrupted if the source cannot be read, StageFailed if one of its
        files is a link to one outside.
        """
        linked = self._linked(snapshot)
        content = self._digest(
            snapshot, lambda name: None if name in linked else into / name
        )
        for name in linked:
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            (into / name).symlink_to((Path(snapshot.root) / name).resolve())
        return content

    def digest(self, snapshot: Snapshot) -> str:
        """Return what `fetch` returns, without copying.

        Raises StageInterrupted if the source cannot be read.
        """
        return self._digest(snapshot, lambda _: None)

    def _digest(self, snapshot: Snapshot, target: Callable[[str], Path | None]) -> str:
        digest = blake2b(digest_size=16)
        self._check_links(snapshot)
        with self._translated():
            for name in snapshot.names:
                content = self._read(f"{snapshot.root}/{name}", target(name))
                digest.update(f"{len(name.encode())}:{name}:{content}\n".encode())
        return digest.hexdigest()

    def _linked(self, snapshot: Snapshot) -> set[str]:
        """Return the names of the files that need not be copied."""
        if self.local_path is None:
            return set()
        return {*filter(_LARGE.fullmatch, snapshot.names)}

    def _check_links(self, snapshot: Snapshot) -> None:
        """Raise StageFailed for a link out of the model's folder.

        The folder itself, or that of a version, may be one.
        """
        if self.local_path is None:
            return
        folders = [Path(self._root).resolve(), Path(snapshot.root).resolve()]
        for name in snapshot.names:
            target = (Path(snapshot.root) / name).resolve()
            if not any(target.is_relative_to(folder) for folder in folders):
                raise StageFailed(
                    f"{self.url}: {name} is a link to {target}, outside of the model's "
                    "folder: copy the file there"
                )

    def _read(self, path: str, target: Path | None) -> str:
        """Digest a file, and copy it if there is a target."""
        digest = blake2b(digest_size=32)
        if target:
            target.parent.mkdir(parents=True, exist_ok=True)
        copying = FlushedFile(target) if target else nullcontext()
        with self._files.open(path, "rb") as source, copying as copy:
            while chunk := source.read(PIECE_BYTES):
                digest.update(chunk)
                if copy:
                    copy.write(chunk)
        return digest.hexdigest()

    def _listed(self) -> list[str] | None:
        if self._files.isdir(self._root):
            paths = self._files.ls(self._root, detail=False)
        elif self._files.isfile(self._root):
            paths = [self._root]
        else:
            return None
        return sorted(PurePosixPath(path.rstrip("/")).name for path in paths)

    def _snapshots(self, names: set[str]) -> Iterator[Snapshot]:
        """Yield the state of each version, the newest first."""
        folder, _, name = self._root.rpartition("/")
        if _KERAS.fullmatch(name) and self._files.isfile(self._root):
            yield Snapshot(folder, ((name, _stamp(self._files.info(self._root))),))
            return
        for root in self._candidates(names):
            if files := tuple(sorted(self._served_files(root))):
                yield Snapshot(root, files)

    def _candidates(self, names: set[str]) -> Iterator[str]:
        """Yield the root if it holds a model; numbered folders, highest first."""
        if names & _SAVED_MODEL or any(map(_KERAS.fullmatch, names)):
            yield self._root
        for number in sorted(filter(str.isdecimal, names), key=int, reverse=True):
            yield f"{self._root.rstrip('/')}/{number}"

    def _served_files(self, root: str) -> list[tuple[str, str]]:
        """Return the files of a SavedModel, or the one .keras file of a folder."""
        prefix = self._files._strip_protocol(root).rstrip("/") + "/"
        found = self._files.find(root, detail=True).items()
        stamps = {path.removeprefix(prefix): _stamp(info) for path, info in found}
        if stamps.keys() & _SAVED_MODEL:
            return [
                (name, stamp)
                for name, stamp in stamps.items()
                if _SERVED.fullmatch(name) and ".." not in name.split("/")
            ]
        keras = [(n, stamp) for n, stamp in stamps.items() if _KERAS.fullmatch(n)]
        return keras if len(keras) == 1 else []

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise StageInterrupted instead of an error of the store."""
        try:
            yield
        except Exception as error:  # every store raises types of its own
            message = f"{self.url}: {type(error).__name__}: {error}"
            raise StageInterrupted(masked(message)) from None


def _protocols(files: Any) -> tuple[str, ...]:
    protocol = files.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _stamp(info: dict[str, Any]) -> str:
    """Return all that a store reports of a file and that changes with its content."""
    return " ".join(str(info.get(key)) for key in _STAMP_KEYS)
