"""What each repository has: one SQLite file, ``registry.db``, which is also the read path.

    blobs      a blob that the repository may serve; ``since``: when somebody last relied on it
    manifests  the same of a manifest, with its entry for lists of referrers
    tags       name → manifest
    uploads    blobs on their way in; their bytes are files of the same names

A row may be ahead of its file, never behind: who adds content writes the row first, and who removes a file
does so while nobody else can write a row (``exclusive``). So a collection beside a running server takes
nothing that anybody has just been promised. Calls are made from the event loop's thread; they take some
microseconds, and ``put_manifest`` waits until it is on the disk.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sampan.base.errors import HostFailure
from sampan.oci.digest import Digest

SCHEMA_VERSION: Final = 1
_PATIENCE_S: Final = 10.0  # a collection beside us never holds the lock for long
_NOTICE_S: Final = 3600  # how exact ``since`` is kept for what only gets asked for
_SCHEMA: Final = """
CREATE TABLE blobs (repository TEXT, digest TEXT, since INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)) WITHOUT ROWID;
CREATE INDEX blobs_by_digest ON blobs (digest);
CREATE TABLE manifests (repository TEXT, digest TEXT, media_type TEXT NOT NULL, size INTEGER NOT NULL,
    subject TEXT NOT NULL, artifact_type TEXT NOT NULL, referrer BLOB NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)) WITHOUT ROWID;
CREATE INDEX manifests_by_digest ON manifests (digest);
CREATE INDEX manifests_by_subject ON manifests (repository, subject, digest) WHERE subject != '';
CREATE TABLE tags (repository TEXT, tag TEXT, digest TEXT NOT NULL,
    PRIMARY KEY (repository, tag)) WITHOUT ROWID;
CREATE INDEX tags_by_digest ON tags (repository, digest);
CREATE TABLE uploads (id TEXT PRIMARY KEY, repository TEXT NOT NULL, algorithm TEXT NOT NULL,
    since INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """A manifest of a repository; ``referrer`` is its entry in the list of the referrers of ``subject``."""

    digest: Digest
    media_type: str
    size: int
    subject: str = ""
    artifact_type: str = ""
    referrer: bytes = b""


@dataclass(frozen=True, slots=True)
class UploadRow:
    """A blob on its way in; ``since`` in seconds of Unix time."""

    id: str
    repository: str
    algorithm: str
    since: float


class Catalogue:
    """The file at ``path``. Raises HostFailure if it cannot be used or a newer version wrote it."""

    def __init__(self, path: Path) -> None:
        try:
            self._db = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=_PATIENCE_S
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            with self._transaction():
                found = int(self._db.execute("PRAGMA user_version").fetchone()[0])
                if found == 0:
                    for statement in _SCHEMA.split(";"):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        except sqlite3.Error as error:
            raise HostFailure(f"cannot open {path}: {error}") from error
        if found > SCHEMA_VERSION:
            self._db.close()
            raise HostFailure(f"{path} has schema {found}, this version knows {SCHEMA_VERSION}")

    def close(self) -> None:
        """Checkpoint and close the file."""
        self._db.close()

    # --- blobs

    def has_blob(self, repository: str, digest: Digest) -> bool:
        """Tell whether the repository may serve the blob."""
        return (
            self._one("SELECT 1 FROM blobs WHERE repository=? AND digest=?", repository, digest) is not None
        )

    def is_known(self, digest: Digest) -> bool:
        """Tell whether any repository may serve the blob."""
        return self._one("SELECT 1 FROM blobs WHERE digest=? LIMIT 1", digest) is not None

    def link_blob(self, repository: str, digest: Digest) -> None:
        """Let the repository serve the blob, whose file is there or comes next."""
        self._run("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?)", repository, digest, _now())

    def notice_blob(self, repository: str, digest: Digest) -> None:
        """Take note that somebody relies on the blob: a collection then lets it be for a while."""
        now = _now()
        statement = "UPDATE blobs SET since=? WHERE repository=? AND digest=? AND since<?"
        self._run(statement, now, repository, digest, now - _NOTICE_S)

    def claim_blob(self, repository: str, digest: Digest) -> bool:
        """Keep a collection from the blob, which a manifest is about to need; False: it is not there."""
        statement = "UPDATE blobs SET since=? WHERE repository=? AND digest=?"
        return self._run(statement, _now(), repository, digest) > 0

    def claim_manifest(self, repository: str, digest: Digest) -> bool:
        """Keep a collection from the manifest, which an index is about to need; False: as above."""
        statement = "UPDATE manifests SET since=? WHERE repository=? AND digest=?"
        return self._run(statement, _now(), repository, digest) > 0

    def unlink_blob(self, repository: str, digest: Digest) -> bool:
        """Take the blob from the repository; False: it did not have it."""
        return self._run("DELETE FROM blobs WHERE repository=? AND digest=?", repository, digest) > 0

    # --- manifests and tags

    def put_manifest(self, repository: str, row: ManifestRow, tags: Sequence[str]) -> None:
        """Add a manifest and let ``tags`` stand for it; durable on return."""
        values = (
            *(repository, str(row.digest), row.media_type, row.size, row.subject, row.artifact_type),
            *(row.referrer, _now()),
        )
        self._run("PRAGMA synchronous=FULL")
        try:
            with self._transaction():
                self._run("INSERT OR REPLACE INTO manifests VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *values)
                for tag in tags:
                    self._run("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", repository, tag, row.digest)
        finally:
            self._run("PRAGMA synchronous=NORMAL")

    def find_manifest(self, repository: str, reference: Digest | str) -> ManifestRow | None:
        """Return the manifest with a digest or a tag."""
        digest = reference if isinstance(reference, Digest) else self.find_tag(repository, reference)
        if digest is None:
            return None
        found = self._one(
            "SELECT digest, media_type, size, subject, artifact_type, referrer FROM manifests "
            "WHERE repository=? AND digest=?",
            *(repository, digest),
        )
        return None if found is None else ManifestRow(Digest(found[0]), *found[1:])

    def find_tag(self, repository: str, tag: str) -> Digest | None:
        """Return what a tag stands for."""
        found = self._one("SELECT digest FROM tags WHERE repository=? AND tag=?", repository, tag)
        return None if found is None else Digest(found[0])

    def remove_manifest(self, repository: str, digest: Digest) -> bool:
        """Remove a manifest and the tags that stand for it; False: it was not there."""
        with self._transaction():
            self._run("DELETE FROM tags WHERE repository=? AND digest=?", repository, digest)
            return self._run("DELETE FROM manifests WHERE repository=? AND digest=?", repository, digest) > 0

    def remove_tag(self, repository: str, tag: str) -> bool:
        """Remove a tag; False: it was not there."""
        return self._run("DELETE FROM tags WHERE repository=? AND tag=?", repository, tag) > 0

    # --- lists

    def exists(self, repository: str) -> bool:
        """Tell whether anything was ever pushed to the repository and is still there."""
        return any(
            self._one(f"SELECT 1 FROM {table} WHERE repository=? LIMIT 1", repository)  # noqa: S608 - ours
            for table in ("manifests", "blobs", "tags")
        )

    def tags(self, repository: str, last: str, limit: int) -> list[str]:
        """Return at most ``limit`` tags behind ``last``, in the order of their bytes."""
        statement = "SELECT tag FROM tags WHERE repository=? AND tag>? ORDER BY tag LIMIT ?"
        return [row[0] for row in self._all(statement, repository, last, limit)]

    def repositories(self, last: str, limit: int) -> list[str]:
        """Return at most ``limit`` repositories with manifests behind ``last``, in their bytes' order."""
        found: list[str] = []
        while len(found) < limit:  # a step of the index each, however many manifests there are
            row = self._one("SELECT min(repository) FROM manifests WHERE repository>?", last)
            if row is None or row[0] is None:
                break
            last = row[0]
            found.append(last)
        return found

    def referrers(
        self, repository: str, subject: Digest, last: str, artifact_type: str
    ) -> Iterator[tuple[str, bytes]]:
        """Yield digest and entry of the manifests that refer to ``subject``, behind ``last``, by digest."""
        statement = (
            "SELECT digest, referrer FROM manifests "
            "WHERE repository=? AND subject=? AND subject!='' AND digest>?"
        )
        values = [repository, str(subject), last]
        if artifact_type:
            statement += " AND artifact_type=?"
            values.append(artifact_type)
        yield from self._db.execute(f"{statement} ORDER BY digest", values)

    # --- uploads

    def add_upload(self, row: UploadRow) -> None:
        """Take note of an upload."""
        values = (row.id, row.repository, row.algorithm, int(row.since))
        self._run("INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?)", *values)

    def remove_upload(self, upload: str) -> None:
        """Forget an upload."""
        self._run("DELETE FROM uploads WHERE id=?", upload)

    def uploads(self) -> list[UploadRow]:
        """Return every upload."""
        return [UploadRow(*row) for row in self._all("SELECT id, repository, algorithm, since FROM uploads")]

    # --- collecting

    def in_use(self, digest: Digest) -> bool:
        """Tell whether a row names the content, so that its file must stay."""
        return self.uses(digest) > 0

    def uses(self, digest: Digest) -> int:
        """Return how many rows name the content."""
        statement = (
            "SELECT (SELECT count(*) FROM blobs WHERE digest=?) + "
            "(SELECT count(*) FROM manifests WHERE digest=?)"
        )
        return int(self._one(statement, digest, digest)[0])

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep everybody else, other processes too, from writing rows while the block runs."""
        with self._transaction():
            yield

    def manifest_rows(self) -> list[tuple[str, Digest, str, int, bool]]:
        """Return repository, digest, subject, age's beginning and whether it has a tag, of every manifest."""
        rows = self._all(
            "SELECT repository, digest, subject, since, EXISTS (SELECT 1 FROM tags "
            "WHERE tags.repository=manifests.repository AND tags.digest=manifests.digest) FROM manifests"
        )
        return [(row[0], Digest(row[1]), row[2], row[3], bool(row[4])) for row in rows]

    def blob_rows(self, before: float) -> list[tuple[str, Digest]]:
        """Return repository and digest of the blobs that nobody has shown interest in since ``before``."""
        rows = self._all("SELECT repository, digest FROM blobs WHERE since<=?", int(before))
        return [(row[0], Digest(row[1])) for row in rows]

    def unlink_old_blob(self, repository: str, digest: Digest, before: float) -> bool:
        """Take the blob from the repository unless somebody has shown interest in it after ``before``."""
        statement = "DELETE FROM blobs WHERE repository=? AND digest=? AND since<=?"
        return self._run(statement, repository, digest, int(before)) > 0

    def remove_old_manifest(self, repository: str, digest: Digest, before: float) -> bool:
        """Remove a manifest unless it got a tag or was pushed, or claimed for an index, after ``before``."""
        statement = (
            "DELETE FROM manifests WHERE repository=? AND digest=? AND since<=? AND NOT EXISTS "
            "(SELECT 1 FROM tags WHERE tags.repository=manifests.repository AND tags.digest=manifests.digest)"
        )
        return self._run(statement, repository, digest, int(before)) > 0

    # ---

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise HostFailure(f"registry.db: {error}") from error
        try:
            yield
        except BaseException:
            if self._db.in_transaction:  # some errors roll it back by themselves
                self._db.execute("ROLLBACK")
            raise
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise HostFailure(f"registry.db: {error}") from error

    def _run(self, statement: str, *values: Any) -> int:
        try:
            return self._db.execute(statement, [_plain(value) for value in values]).rowcount
        except sqlite3.Error as error:
            raise HostFailure(f"registry.db: {error}") from error

    def _one(self, statement: str, *values: Any) -> Any:
        return next(iter(self._all(statement, *values)), None)

    def _all(self, statement: str, *values: Any) -> list[Any]:
        try:
            return self._db.execute(statement, [_plain(value) for value in values]).fetchall()
        except sqlite3.Error as error:
            raise HostFailure(f"registry.db: {error}") from error


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Digest) else value


def _now() -> int:
    return int(time.time())
