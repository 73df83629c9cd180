"""Objects on `gs://`, by Google's client; `storage.py` is what others use. Needs no JAX.

Each object is put whole, has a version that every put changes, and can be put on condition that its
version is still the one seen. The client tries again by itself what can be tried again.
"""

import contextlib
import errno
import functools
import os
import re
from collections.abc import Iterator

from etils import epath

from lstm_jax.errors import InputError, MissingExtraError, first_line

READERS = 64  # objects read at once: each waits for the store, hardly for the processor
SCHEME = "gs://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,221}")


class LostError(Exception):
    """Another process has taken over what this one was writing."""


def split(path: epath.PathLike) -> tuple[str, str]:
    """Bucket and key of a path."""
    bucket, _, key = os.fspath(epath.Path(path)).removeprefix(SCHEME).partition("/")
    return bucket, key.rstrip("/")


def is_known(path: epath.PathLike) -> bool:
    """Whether a path is `gs://` and a bucket that could be."""
    return os.fspath(path).startswith(SCHEME) and bool(_BUCKET.fullmatch(split(path)[0]))


def download(path: epath.PathLike, most: int) -> tuple[bytes, int] | None:
    """The first `most` bytes of an object and its version; None where there is none.

    Raises:
      OSError: the store does not say.
    """
    from google.api_core.exceptions import NotFound, RequestRangeNotSatisfiable

    blob = _blob(path)
    with _told(path):
        try:
            data = blob.download_as_bytes(start=0, end=most - 1, raw_download=True)
        except NotFound:
            return None
        except RequestRangeNotSatisfiable:  # an empty object has no first byte
            blob.reload()
            data = b""
    if blob.generation is None:  # if asked for now it might be another content's
        raise OSError(errno.EPROTO, "the store does not tell the object's version", str(path))
    return data, blob.generation


def version(path: epath.PathLike) -> int | None:
    """The version of an object, whatever is in it; None where there is none.

    Raises:
      OSError: the store does not say.
    """
    from google.api_core.exceptions import NotFound

    blob = _blob(path)
    with _told(path):
        try:
            blob.reload()
        except NotFound:
            return None
    return blob.generation


def put(path: epath.PathLike, data: bytes, seen: int | None) -> int:
    """Puts an object and returns its version; `seen` is what it must be before, None for any.

    Raises:
      LostError: it is another: somebody else has put it.
      OSError: the store does not take it.
    """
    from google.api_core.exceptions import PreconditionFailed

    blob = _blob(path)
    with _told(path):
        try:
            blob.upload_from_string(
                data, content_type="application/octet-stream", if_generation_match=seen
            )
        except PreconditionFailed as error:
            # A put whose answer was lost is tried again and meets itself.
            there = download(path, len(data) + 1)
            if there is None or there[0] != data:
                raise LostError(f"{path}: another process has written it") from error
            return there[1]
    return blob.generation


def delete(path: epath.PathLike, seen: int | None) -> None:
    """Removes an object if it is there, at that version if one is given.

    Raises:
      OSError: the store does not do it.
    """
    from google.api_core.exceptions import NotFound, PreconditionFailed

    with _told(path), contextlib.suppress(NotFound, PreconditionFailed):
        _blob(path).delete(if_generation_match=seen)


def names(path: epath.PathLike) -> list[str]:
    """Names of the objects of which a path is the directory, in no order.

    Raises:
      OSError: the store does not say.
    """
    bucket, key = split(path)
    prefix = f"{key}/" if key else ""
    with _told(path):
        found = client().list_blobs(
            bucket, prefix=prefix, delimiter="/", fields="items(name),nextPageToken"
        )
        return [blob.name.removeprefix(prefix) for blob in found]


def below(path: epath.PathLike) -> list:
    """The object of a path and all whose names begin with it as a directory's.

    Raises:
      OSError: the store does not say.
    """
    bucket, key = split(path)
    with _told(path):
        found = client().list_blobs(
            bucket, prefix=key, fields="items(name,generation,size),nextPageToken"
        )
        return [blob for blob in found if blob.name == key or blob.name.startswith(f"{key}/")]


def move(path: epath.PathLike, to: epath.PathLike) -> None:
    """Gives the object of a path, and all below it, another name: copies, then deletes.

    Raises:
      OSError: the store does not do it.
    """
    from google.cloud.storage.retry import DEFAULT_RETRY

    bucket, key = split(path)
    _, new_key = split(to)
    blobs = below(path)
    with _told(path):
        for blob in blobs:
            name = new_key + blob.name.removeprefix(key)
            blob.bucket.copy_blob(blob, blob.bucket, name, retry=DEFAULT_RETRY)
    for blob in blobs:
        delete(f"{SCHEME}{bucket}/{blob.name}", blob.generation)


@functools.cache
def client():
    """The store's client.

    Raises:
      InputError: no credentials.
      MissingExtraError: it is not installed.
    """
    try:
        from google.auth.exceptions import GoogleAuthError
        from google.cloud import storage
        from requests.adapters import HTTPAdapter
    except ImportError as error:
        raise MissingExtraError("gs:// paths", "gcs") from error
    try:
        made = storage.Client(project=os.environ.get("GOOGLE_CLOUD_PROJECT", "unused"))
    except GoogleAuthError as error:
        raise InputError(f"gs://: no credentials ({first_line(error)[:200]})") from error
    # One connection a reader; by default ten are kept, and the others made anew each time.
    for scheme in ("https://", "http://"):
        made._http.mount(scheme, HTTPAdapter(pool_maxsize=READERS))
    return made


def _blob(path: epath.PathLike):
    bucket, key = split(path)
    return client().bucket(bucket).blob(key)


@contextlib.contextmanager
def _told(path: epath.PathLike) -> Iterator[None]:
    """Errors of the store as OSError with one line."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
    from requests.exceptions import RequestException

    try:
        yield
    except (
        GoogleAPIError,
        GoogleAuthError,
        RequestException,
        ConnectionError,
        DataCorruption,
        InvalidResponse,
    ) as error:
        code = getattr(error, "code", None)
        number = {403: errno.EACCES, 404: errno.ENOENT}.get(code, errno.EIO)
        raise OSError(number, first_line(error)[:300], os.fspath(path)) from error
