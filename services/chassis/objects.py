"""The object store: one port, two real implementations (S3 and a local folder), one behaviour suite for both.

Every object is written whole or not at all, and carries its SHA-256 as metadata, so that a reader can prove what it
got and a writer can recognise its own earlier work. Calls are synchronous; services call them from threads.
Cost: one round trip for each call but ``put_file`` (one for every 64 MiB) and ``list`` (one for every 1,000 keys).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from contracts.errors import Permanent, Transient
from contracts.values import ObjectRef

if TYPE_CHECKING:
    from services.chassis.settings import ChassisSettings

CHUNK = 1 << 20
PART_BYTES = 64 << 20
READ_AHEAD = 1 << 20
SHA256 = "sha256"
LARGEST_COPY = 5 << 30
"""S3 copies no more bytes with one call."""
BATCH_KEYS = 1000
"""S3 deletes no more keys with one call."""
_NO_BATCH = frozenset({400, 404, 405, 411, 501})
"""What stores answer that do not know the batch call, or not in this form."""
UNKNOWN_SHA256 = "0" * 64
"""In place of the digest of a large object that somebody else wrote."""

Progress = Callable[[int], None]
"""Called with the number of bytes moved since the last call."""


class ObjectMissing(Permanent):
    """There is no object under the key."""

    code = "objects.missing"


class ObjectDamaged(Transient):
    """What was read is not what was written."""

    code = "objects.damaged"


class StoreUnavailable(Transient):
    """The store does not answer or refuses for the moment."""

    code = "objects.unavailable"


@dataclass(frozen=True)
class Piece:
    """A part of an object, with the size and the digest of the whole it was cut from."""

    data: bytes
    size: int
    sha256: str


@dataclass(frozen=True)
class Stored:
    """An object as a listing tells of it."""

    key: str
    size: int
    modified: datetime


class StillThere(Transient):
    """The store goes on showing what was deleted."""

    code = "objects.still_there"


class ObjectStore(Protocol):
    """What services and work functions may do with objects."""

    def put_file(self, path: Path, key: str, content_type: str, *, progress: Progress | None = None) -> ObjectRef:
        """Stores a file under the key, replacing what was there."""

    def put_bytes(self, data: bytes, key: str, content_type: str) -> ObjectRef:
        """Stores bytes under the key, replacing what was there."""

    def get_bytes(self, key: str) -> bytes:
        """The whole object; ``ObjectMissing`` if there is none."""

    def get_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes ``[start, end)``, cut at the object's end."""

    def get_piece(self, key: str, start: int, end: int) -> Piece:
        """Bytes ``[start, end)`` and what object they are of. None of an object that is shorter than ``end``."""

    def fetch(self, ref: ObjectRef, path: Path, *, progress: Progress | None = None) -> Path:
        """Downloads to a path and proves size and SHA-256; ``ObjectDamaged`` if they differ."""

    def open(self, key: str) -> RangeReader:
        """A seekable file over range reads: only what is read is fetched."""

    def head(self, key: str) -> ObjectRef | None:
        """What is under the key, or nothing."""

    def list(self, prefix: str) -> Iterator[str]:
        """Keys under a prefix, in order."""

    def entries(self, prefix: str) -> Iterator[Stored]:
        """The same with sizes and ages. A store may list what was just deleted, and leave out what was just written."""

    def delete(self, keys: Iterable[str]) -> int:
        """Deletes objects; those already gone are fine. The number of keys given."""

    def copy(self, source_key: str, target_key: str) -> ObjectRef:
        """Copies inside the store."""

    def presign_get(self, key: str, expires: timedelta) -> str:
        """A short-lived address to read the object from."""

    def ensure_bucket(self) -> None:
        """Makes the bucket if it is not there."""

    def begin_upload(self, key: str, content_type: str, *, sha256: str = "") -> str:
        """Opens an object that arrives in parts; its handle. ``sha256`` is what the sender claims, kept as metadata."""

    def upload_part(self, key: str, handle: str, number: int, part: Path) -> None:
        """Stores part ``number`` (from 1), replacing it; ``ObjectMissing`` if the upload is not open."""

    def presign_part(self, key: str, handle: str, number: int, expires: timedelta) -> str:
        """A short-lived address to PUT one part to."""

    def parts(self, key: str, handle: str) -> dict[int, int]:
        """Sizes of the parts that have arrived, by number; ``ObjectMissing`` if the upload is not open."""

    def finish_upload(self, key: str, handle: str) -> None:
        """Makes the object of the parts that have arrived; ``ObjectMissing`` if the upload is not open."""

    def abort_upload(self, key: str, handle: str) -> None:
        """Throws the parts away; an upload that is not open is fine."""


class RangeReader(io.RawIOBase):
    """A read-only seekable file over range reads, with read-ahead. ``bytes_read`` and ``requests`` tell its cost."""

    def __init__(self, read_range: Callable[[int, int], bytes], size: int, *, read_ahead: int = READ_AHEAD) -> None:
        super().__init__()
        self._read_range = read_range
        self._size = size
        self._read_ahead = read_ahead
        self._position = 0
        self._window = b""
        self._window_start = 0
        self.bytes_read = 0
        self.requests = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        if size is None or size < 0:
            size = self._size - self._position
        end = min(self._position + size, self._size)
        if end <= self._position:
            return b""
        window_end = self._window_start + len(self._window)
        if not (self._window_start <= self._position and end <= window_end):
            fetch_end = min(max(end, self._position + self._read_ahead), self._size)
            self._window = self._read_range(self._position, fetch_end)
            self._window_start = self._position
            self.bytes_read += len(self._window)
            self.requests += 1
        offset = self._position - self._window_start
        data = self._window[offset : offset + end - self._position]
        self._position += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def sha256_of(path: Path, progress: Progress | None = None) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            if progress:
                progress(len(chunk))
    return digest.hexdigest()


class FolderStore:
    """Objects as files under a folder, for tests and tools: atomic by rename, metadata beside the data."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def ensure_bucket(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)

    def put_file(self, path: Path, key: str, content_type: str, *, progress: Progress | None = None) -> ObjectRef:
        ref = ObjectRef(key=_checked(key), size=path.stat().st_size, sha256=sha256_of(path), content_type=content_type)
        with path.open("rb") as source:
            self._write(ref, source)
        if progress:
            progress(ref.size)
        return ref

    def put_bytes(self, data: bytes, key: str, content_type: str) -> ObjectRef:
        ref = ObjectRef(
            key=_checked(key), size=len(data), sha256=hashlib.sha256(data).hexdigest(), content_type=content_type
        )
        self._write(ref, io.BytesIO(data))
        return ref

    def get_bytes(self, key: str) -> bytes:
        return self._existing(key).read_bytes()

    def get_range(self, key: str, start: int, end: int) -> bytes:
        with self._existing(key).open("rb") as file:
            file.seek(start)
            return file.read(max(0, end - start))

    def get_piece(self, key: str, start: int, end: int) -> Piece:
        ref = self.head(key)
        if ref is None:
            raise _missing(key)
        return Piece(self.get_range(key, start, end) if end <= ref.size else b"", ref.size, ref.sha256)

    def fetch(self, ref: ObjectRef, path: Path, *, progress: Progress | None = None) -> Path:
        shutil.copyfile(self._existing(ref.key), path)
        if progress:
            progress(path.stat().st_size)
        return _proven(ref, path, sha256_of(path))

    def open(self, key: str) -> RangeReader:
        ref = self.head(key)
        if ref is None:
            raise _missing(key)
        return RangeReader(lambda start, end: self.get_range(key, start, end), ref.size)

    def head(self, key: str) -> ObjectRef | None:
        meta = self._meta(key)
        return ObjectRef.model_validate_json(meta.read_bytes()) if meta.exists() else None

    def list(self, prefix: str) -> Iterator[str]:
        data = self._root / "data"
        folder = data / prefix.rpartition("/")[0]
        if not folder.is_dir():
            return
        keys = [
            str(path.relative_to(data))
            for path in folder.rglob("*")
            if not path.name.startswith(".tmp-") and path.is_file()
        ]
        yield from sorted(key for key in keys if key.startswith(prefix))

    def entries(self, prefix: str) -> Iterator[Stored]:
        for key in self.list(prefix):
            with contextlib.suppress(FileNotFoundError):
                found = self._data(key).stat()
                yield Stored(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def delete(self, keys: Iterable[str]) -> int:
        count = 0
        for key in keys:
            self._meta(key).unlink(missing_ok=True)
            self._data(key).unlink(missing_ok=True)
            count += 1
        return count

    def copy(self, source_key: str, target_key: str) -> ObjectRef:
        ref = self.head(source_key)
        if ref is None:
            raise _missing(source_key)
        target = ref.model_copy(update={"key": target_key})
        with self._data(source_key).open("rb") as source:
            self._write(target, source)
        return target

    def presign_get(self, key: str, expires: timedelta) -> str:
        del expires
        return self._existing(key).absolute().as_uri()

    def begin_upload(self, key: str, content_type: str, *, sha256: str = "") -> str:
        handle = uuid4().hex
        folder = self._root / "uploads" / handle
        folder.mkdir(parents=True)
        (folder / "about.json").write_text(
            json.dumps({"key": _checked(key), "content_type": content_type, "sha256": sha256})
        )
        return handle

    def upload_part(self, key: str, handle: str, number: int, part: Path) -> None:
        shutil.copyfile(part, self._upload(key, handle) / f"{number:05d}")

    def presign_part(self, key: str, handle: str, number: int, expires: timedelta) -> str:
        del expires
        return (self._upload(key, handle) / f"{number:05d}").absolute().as_uri()

    def parts(self, key: str, handle: str) -> dict[int, int]:
        return {int(path.name): path.stat().st_size for path in sorted(self._upload(key, handle).glob("[0-9]*"))}

    def finish_upload(self, key: str, handle: str) -> None:
        folder = self._upload(key, handle)
        about = json.loads((folder / "about.json").read_text())
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".whole-") as whole:
            for part in sorted(folder.glob("[0-9]*")):
                with part.open("rb") as source:
                    shutil.copyfileobj(source, whole, CHUNK)
            whole.flush()
            path = Path(whole.name)
            ref = ObjectRef(
                key=_checked(key),
                size=path.stat().st_size,
                sha256=about["sha256"] or sha256_of(path),
                content_type=about["content_type"],
            )
            with path.open("rb") as source:
                self._write(ref, source)
        shutil.rmtree(folder)

    def abort_upload(self, key: str, handle: str) -> None:
        with contextlib.suppress(ObjectMissing):
            shutil.rmtree(self._upload(key, handle))

    def _upload(self, key: str, handle: str) -> Path:
        folder = self._root / "uploads" / handle
        if not handle.isalnum() or not folder.is_dir():
            raise _missing(key)
        return folder

    def _data(self, key: str) -> Path:
        return self._root / "data" / _checked(key)

    def _meta(self, key: str) -> Path:
        return self._root / "meta" / f"{_checked(key)}.json"

    def _existing(self, key: str) -> Path:
        path = self._data(key)
        if not path.is_file():
            raise _missing(key)
        return path

    def _write(self, ref: ObjectRef, source: Any) -> None:
        for path in (self._data(ref.key), self._meta(ref.key)):
            path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._data(ref.key).parent, prefix=".tmp-", delete=False) as file:
            shutil.copyfileobj(source, file, CHUNK)
        Path(file.name).replace(self._data(ref.key))
        self._meta(ref.key).write_text(json.dumps(ref.model_dump(mode="json")))


class S3Store:
    """Objects in any S3 server that checks SigV4 and knows ranges, multipart uploads and metadata."""

    def __init__(self, settings: ChassisSettings) -> None:
        self._settings = settings
        self._bucket = settings.s3_bucket
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._has_batch = True

    def _client_for(self, endpoint: str) -> Any:
        with self._lock:
            if endpoint not in self._clients:
                import boto3
                from botocore.config import Config

                self._clients[endpoint] = boto3.client(
                    "s3",
                    endpoint_url=endpoint,
                    region_name=self._settings.s3_region,
                    aws_access_key_id=self._settings.s3_access_key.get_secret_value(),
                    aws_secret_access_key=self._settings.s3_secret_key.get_secret_value(),
                    config=Config(
                        signature_version="s3v4",
                        connect_timeout=5,
                        read_timeout=60,
                        retries={"mode": "standard", "max_attempts": 6},
                        s3={"addressing_style": "path"},
                        # Servers other than Amazon's do not all know the newer default checksums.
                        request_checksum_calculation="when_required",
                        response_checksum_validation="when_required",
                    ),
                )
            return self._clients[endpoint]

    @property
    def _client(self) -> Any:
        return self._client_for(self._settings.s3_endpoint)

    def read_description(self) -> None:
        """Has the library read its description of the API: a tenth of a second, and kept for all later clients."""
        _ = self._client

    def ensure_bucket(self) -> None:
        with _translated("the bucket"):
            from botocore.exceptions import ClientError

            try:
                self._client.head_bucket(Bucket=self._bucket)
            except ClientError as error:
                if _status(error) not in (404, 400):
                    raise
                with contextlib.suppress(
                    self._client.exceptions.BucketAlreadyOwnedByYou, self._client.exceptions.BucketAlreadyExists
                ):
                    self._client.create_bucket(Bucket=self._bucket)

    def put_file(self, path: Path, key: str, content_type: str, *, progress: Progress | None = None) -> ObjectRef:
        from boto3.s3.transfer import TransferConfig

        ref = ObjectRef(key=_checked(key), size=path.stat().st_size, sha256=sha256_of(path), content_type=content_type)
        with _translated(key):
            self._client.upload_file(
                str(path),
                self._bucket,
                _checked(key),
                ExtraArgs={"ContentType": content_type, "Metadata": {SHA256: ref.sha256}, **self._class_of(key)},
                Config=TransferConfig(
                    multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=2
                ),
                Callback=progress,
            )
        return ref

    def put_bytes(self, data: bytes, key: str, content_type: str) -> ObjectRef:
        ref = ObjectRef(
            key=_checked(key), size=len(data), sha256=hashlib.sha256(data).hexdigest(), content_type=content_type
        )
        with _translated(key):
            self._client.put_object(
                Bucket=self._bucket,
                Key=_checked(key),
                Body=data,
                ContentType=content_type,
                Metadata={SHA256: ref.sha256},
                **self._class_of(key),
            )
        return ref

    def get_bytes(self, key: str) -> bytes:
        with _translated(key):
            body: bytes = self._client.get_object(Bucket=self._bucket, Key=_checked(key))["Body"].read()
            return body

    def get_range(self, key: str, start: int, end: int) -> bytes:
        from botocore.exceptions import ClientError

        if end <= start:
            return b""
        with _translated(key):
            try:
                return self._get_range(key, start, end)
            except ClientError as error:
                if _status(error) not in (400, 416):
                    raise
                # Not every server cuts a range at the object's end.
                found = self.head(key)
                cut = min(end, found.size) if found else end
                return self._get_range(key, start, cut) if start < cut < end else b""

    def get_piece(self, key: str, start: int, end: int) -> Piece:
        from botocore.exceptions import ClientError

        data, total, sha256 = b"", "", None
        with _translated(key):
            try:
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=_checked(key), Range=f"bytes={start}-{end - 1}"
                )
                data = answer["Body"].read()
                total = answer.get("ContentRange", "").rpartition("/")[2]
                sha256 = answer.get("Metadata", {}).get(SHA256)
            except ClientError as error:
                if _status(error) not in (400, 416):
                    raise
        if total.isdecimal() and sha256:
            return Piece(data if end <= int(total) else b"", int(total), sha256)
        # Not every server tells of the whole when asked for a part, and none does when there is no such part.
        ref = self.head(key)
        if ref is None:
            raise _missing(key)
        return Piece(data if end <= ref.size else b"", ref.size, ref.sha256)

    def _get_range(self, key: str, start: int, end: int) -> bytes:
        body: bytes = self._client.get_object(Bucket=self._bucket, Key=_checked(key), Range=f"bytes={start}-{end - 1}")[
            "Body"
        ].read()
        return body

    def fetch(self, ref: ObjectRef, path: Path, *, progress: Progress | None = None) -> Path:
        digest = hashlib.sha256()
        with _translated(ref.key), path.open("wb") as file:
            body = self._client.get_object(Bucket=self._bucket, Key=_checked(ref.key))["Body"]
            for chunk in body.iter_chunks(CHUNK):
                file.write(chunk)
                digest.update(chunk)
                if progress:
                    progress(len(chunk))
        return _proven(ref, path, digest.hexdigest())

    def open(self, key: str) -> RangeReader:
        ref = self.head(key)
        if ref is None:
            raise _missing(key)
        return RangeReader(lambda start, end: self.get_range(key, start, end), ref.size)

    def head(self, key: str) -> ObjectRef | None:
        from botocore.exceptions import ClientError

        with _translated(key):
            try:
                found = self._client.head_object(Bucket=self._bucket, Key=_checked(key))
            except ClientError as error:
                if _status(error) == 404:
                    return None
                raise
        sha256 = found.get("Metadata", {}).get(SHA256)
        if sha256 is None:
            # Somebody else put it there: its digest is not known until it is read.
            sha256 = (
                hashlib.sha256(self.get_bytes(key)).hexdigest()
                if found["ContentLength"] < PART_BYTES
                else UNKNOWN_SHA256
            )
        return ObjectRef(
            key=key,
            size=found["ContentLength"],
            sha256=sha256,
            content_type=found.get("ContentType") or "application/octet-stream",
        )

    def list(self, prefix: str) -> Iterator[str]:
        with _translated(prefix):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                yield from (item["Key"] for item in page.get("Contents", ()))

    def entries(self, prefix: str) -> Iterator[Stored]:
        with _translated(prefix):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for item in page.get("Contents", ()):
                    yield Stored(item["Key"], item["Size"], item["LastModified"].astimezone(UTC))

    def delete(self, keys: Iterable[str]) -> int:
        wanted = [_checked(key) for key in keys]
        for start in range(0, len(wanted), BATCH_KEYS):
            batch = wanted[start : start + BATCH_KEYS]
            # What the batch call did not do, or not say that it did, is done one by one.
            for key in batch if len(batch) == 1 else self._left_by_batch(batch):
                with _translated(key), contextlib.suppress(ObjectMissing):
                    self._delete_one(key)
        return len(wanted)

    def _delete_one(self, key: str) -> None:
        with _translated(key):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def _left_by_batch(self, batch: Sequence[str]) -> Sequence[str]:
        """Deletes many at once where the store can; the keys of which it did not say that they are gone."""
        from botocore.exceptions import ClientError

        if not self._has_batch:
            return batch
        try:
            with _translated(batch[0]):
                try:
                    answer = self._client.delete_objects(
                        Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in batch]}
                    )
                except ClientError as error:
                    if _status(error) not in _NO_BATCH:
                        raise
                    self._has_batch = False
                    return batch
        except StoreUnavailable:
            # Some of them may be gone; a store that cannot do many at this moment may do them singly.
            return batch
        gone = {item["Key"] for item in answer.get("Deleted", ())}
        return [key for key in batch if key not in gone]

    def copy(self, source_key: str, target_key: str) -> ObjectRef:
        ref = self.head(source_key)
        if ref is None:
            raise _missing(source_key)
        from botocore.exceptions import ClientError

        place = {"Bucket": self._bucket, "Key": _checked(target_key)}
        source = {"Bucket": self._bucket, "Key": _checked(source_key)}
        with _translated(target_key):
            try:
                # One call, for not every server copies in parts; Amazon's takes up to 5 GiB this way, others any size.
                self._client.copy_object(**place, CopySource=source, **self._class_of(target_key))
            except ClientError as error:
                if _status(error) != 400 or ref.size <= LARGEST_COPY:
                    raise
                self._client.copy(source, **place, ExtraArgs=self._class_of(target_key) or None)
        return ref.model_copy(update={"key": target_key})

    def presign_get(self, key: str, expires: timedelta) -> str:
        endpoint = self._settings.s3_public_endpoint or self._settings.s3_endpoint
        url: str = self._client_for(endpoint).generate_presigned_url(
            "get_object",
            Params={"Bucket": self._bucket, "Key": _checked(key)},
            ExpiresIn=int(expires.total_seconds()),
        )
        return url

    def begin_upload(self, key: str, content_type: str, *, sha256: str = "") -> str:
        metadata = {SHA256: sha256} if sha256 else {}
        with _translated(key):
            handle: str = self._client.create_multipart_upload(
                Bucket=self._bucket,
                Key=_checked(key),
                ContentType=content_type,
                Metadata=metadata,
                **self._class_of(key),
            )["UploadId"]
            return handle

    def upload_part(self, key: str, handle: str, number: int, part: Path) -> None:
        with _translated(key), part.open("rb") as body:
            self._client.upload_part(
                Bucket=self._bucket, Key=_checked(key), UploadId=handle, PartNumber=number, Body=body
            )

    def presign_part(self, key: str, handle: str, number: int, expires: timedelta) -> str:
        endpoint = self._settings.s3_public_endpoint or self._settings.s3_endpoint
        url: str = self._client_for(endpoint).generate_presigned_url(
            "upload_part",
            Params={"Bucket": self._bucket, "Key": _checked(key), "UploadId": handle, "PartNumber": number},
            ExpiresIn=int(expires.total_seconds()),
        )
        return url

    def parts(self, key: str, handle: str) -> dict[int, int]:
        return {part["PartNumber"]: part["Size"] for part in self._parts(key, handle)}

    def _parts(self, key: str, handle: str) -> Sequence[dict[str, Any]]:
        with _translated(key):
            pages = self._client.get_paginator("list_parts").paginate(
                Bucket=self._bucket, Key=_checked(key), UploadId=handle
            )
            return [part for page in pages for part in page.get("Parts", ())]

    def finish_upload(self, key: str, handle: str) -> None:
        parts = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in self._parts(key, handle)]
        with _translated(key):
            self._client.complete_multipart_upload(
                Bucket=self._bucket, Key=_checked(key), UploadId=handle, MultipartUpload={"Parts": parts}
            )

    def abort_upload(self, key: str, handle: str) -> None:
        with contextlib.suppress(ObjectMissing), _translated(key):
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=_checked(key), UploadId=handle)

    def _class_of(self, key: str) -> dict[str, str]:
        """The storage class that the settings give to objects of this kind, as the client's argument."""
        for pattern, storage_class in self._settings.s3_storage_classes.items():
            if fnmatchcase(key, pattern):
                return {"StorageClass": storage_class}
        return {}


def clear(objects: ObjectStore, prefixes: Sequence[str], keys: Iterable[str] = ()) -> int:
    """Deletes everything under some prefixes, and the given keys under them, which a listing may not show yet.

    Guarantees on return that nothing is listed there any more but what the store itself calls gone. What is gone already is
    fine. The number of keys.

    Raises:
        StillThere: something stays; it is worth another try later.
    """
    wanted = {key for key in keys if key.startswith(tuple(prefixes))}
    deleted: set[str] = set()
    for _ in range(CLEARING_ROUNDS):
        wanted |= {key for prefix in prefixes for key in objects.list(prefix)}
        wanted -= {key for key in wanted & deleted if objects.head(key) is None}
        if not wanted:
            return len(deleted)
        objects.delete(sorted(wanted))
        deleted |= wanted
        wanted = set()
    left = [key for prefix in prefixes for key in objects.list(prefix) if objects.head(key) is not None]
    if left:
        raise StillThere(f"{len(left)} objects stay although they were deleted, {left[0]!r} first; it is tried again.")
    return len(deleted)


CLEARING_ROUNDS = 4


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turns the S3 client's errors into the house's."""
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        status = _status(error)
        if status == 404:
            raise _missing(what) from error
        if status in (400, 401, 403, 405, 411, 412, 416):
            raise Permanent(
                f"The object store refused {what!r}: {error}. Check the store's address, keys and bucket.",
                code="objects.refused",
            ) from error
        raise StoreUnavailable(f"The object store failed on {what!r}: {error}.") from error
    except (BotoCoreError, S3UploadFailedError) as error:
        raise StoreUnavailable(f"The object store cannot be reached for {what!r}: {error}.") from error


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _missing(key: str) -> ObjectMissing:
    return ObjectMissing(f"There is no object {key!r} in the store; was it deleted?")


def _proven(ref: ObjectRef, path: Path, sha256: str) -> Path:
    size = path.stat().st_size
    if size != ref.size or sha256 != ref.sha256:
        path.unlink()
        raise ObjectDamaged(
            f"The object {ref.key!r} has {size} bytes and SHA-256 {sha256[:12]}…, "
            f"but {ref.size} bytes and {ref.sha256[:12]}… were written."
        )
    return path


def _checked(key: str) -> str:
    """The key itself, if it names something inside the store."""
    parts: Sequence[str] = key.split("/")
    if not key or key.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise Permanent(
            f"{key!r} is no object key: it must be a relative path without '.' or '..'.", code="objects.bad_key"
        )
    return key


def open_store(settings: ChassisSettings) -> S3Store:
    """The store that the settings name."""
    return S3Store(settings)
