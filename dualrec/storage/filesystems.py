"""File systems of a local folder or an S3 bucket, their clients with equal time-outs and retries,
and readable errors that hold no key. Knows no artifact.

pyarrow reads and writes, boto3 puts a file where none is yet, delta-rs commits. On S3 each finds
its credentials by the usual AWS ways; AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL names another
endpoint than Amazon's. No key is held, passed on or shown here.
"""

import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse

import pyarrow.fs as pafs

from dualrec.config.settings import StoreSettings
from dualrec.errors import WorkspaceError

CONCURRENT_REQUESTS = 16  # to a store, from one process
PRECONDITION_FAILED, CONFLICT = 412, 409

_Value = TypeVar("_Value")
_Result = TypeVar("_Result")
# characters; a shorter one ("test", "none") guards nothing, and may be a word of the message
_SHORTEST_KEY = 8
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_COLOURS = re.compile("\x1b\\[[0-9;]*m")
_TREE = re.compile("[↳│└├─]")
_TRY_LATER = (
    "the object store did not answer in time; see that it can be reached (AWS_ENDPOINT_URL), "
    "then run the job again"
)
# Patterns of a store's error and what to do about it; the first match counts.
_REMEDIES = [
    (
        r"NotImplemented|not implemented|HTTP status 501\b",
        "this object store lacks what a workspace needs (puts with If-None-Match, for one): "
        "take one that has it",
    ),
    (
        r"NO_SUCH_BUCKET|NoSuchBucket|Bucket '.*' not found",
        "create the bucket, or name another with --set workspace=s3://BUCKET/PREFIX",
    ),
    (
        # The answer to a HEAD has no body that says why; with 400, S3 refuses a token that has
        # expired.
        r"(?i)access.?denied|forbidden|expired|signature|invalid.?access.?key|credential"
        r"|UNRECOGNIZED_CLIENT|InvalidToken|HTTP status 400\b",
        "look at the AWS credentials of this process: they are missing, expired, or not allowed to "
        "do this",
    ),
    (
        r"(?i)network|connect|timeout|timed out|slow.?down|service.?unavailable"
        r"|internal.?(server.?)?error|HTTP status 5\d\d|response body error",
        _TRY_LATER,
    ),
    (r"(?i)no space left", "make room on the disk, then run the job again"),
    (r"", "name another with --set workspace=FOLDER, or mend its permissions"),
]


class PatientS3(pafs.S3FileSystem):
    """pyarrow's S3 file system with time-outs and retries that survive pickling: pyarrow's own
    loses its retries on the way to a Ray worker.

    Attributes:
        store: time-outs and retries.
    """

    def __init__(
        self,
        endpoint: str | None,
        region: str | None = None,
        store: StoreSettings = StoreSettings(),
    ) -> None:
        options: dict[str, Any] = {
            "retry_strategy": pafs.AwsStandardS3RetryStrategy(max_attempts=store.attempts),
            "connect_timeout": store.connect_timeout_s,
            "request_timeout": store.read_timeout_s,
        }
        if endpoint:
            options |= {
                "endpoint_override": urlparse(endpoint).netloc,
                "scheme": urlparse(endpoint).scheme,
            }
        if region:
            options["region"] = region
        super().__init__(**options)
        self.store, self._endpoint = store, endpoint

    def __reduce__(self) -> tuple[type["PatientS3"], tuple[str | None, str, StoreSettings]]:
        """Carry the endpoint and the time-outs; each process finds its own credentials."""
        return PatientS3, (self._endpoint, self.region, self.store)


def file_system(uri: str, store: StoreSettings = StoreSettings()) -> tuple[pafs.FileSystem, str]:
    """Return the file system of a local path or an s3:// URI, and the path in it.

    Args:
        store: time-outs and retries of S3.

    Raises:
        WorkspaceError: the URI is of another kind, or holds keys.
    """
    parsed = urlparse(uri)
    # A secret key may hold a slash, which ends the netloc; no bucket's name holds a colon.
    if "@" in parsed.netloc or (parsed.scheme == "s3" and ":" in parsed.netloc):
        bucket = parsed.netloc.rpartition("@")[2] if "@" in parsed.netloc else ""
        raise WorkspaceError(
            f"{parsed.scheme}://…@{bucket}: a user name or key in a URI would reach logs; "
            "write s3://bucket/prefix, and give the credentials by the usual AWS ways"
        )
    if parsed.scheme == "s3":
        return PatientS3(s3_endpoint(), store=store), f"{parsed.netloc}{parsed.path}".rstrip("/")
    if parsed.scheme not in ("", "file"):
        raise WorkspaceError(f"workspace {uri}: expected a folder or s3://bucket/prefix")
    return pafs.LocalFileSystem(), str(
        Path(parsed.path if parsed.scheme else uri).expanduser().absolute()
    )


def s3_endpoint() -> str | None:
    """Return the endpoint that the environment names, or None for Amazon's."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def delta_options(store: StoreSettings = StoreSettings()) -> dict[str, str]:
    """Return options with which delta-rs uses the same S3 store; it finds credentials itself."""
    endpoint = s3_endpoint()
    # delta-rs counts the whole request, where the others count silence.
    options = {
        "aws_conditional_put": "etag",
        "max_retries": str(store.attempts - 1),
        "connect_timeout": f"{store.connect_timeout_s * 1000:.0f}ms",
        "timeout": f"{3 * store.read_timeout_s * 1000:.0f}ms",
    }
    if endpoint:
        options |= {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ALLOW_HTTP": str(endpoint.startswith("http:")).lower(),
        }
    return options


def put_once(filesystem: pafs.FileSystem, path: str, content: bytes) -> bool:
    """Write a small file where none is yet; of several writers, one wins.

    Returns:
        Whether the file now holds `content`: False where other content was there first, which
        stays.

    Raises:
        OSError: it cannot be written.
    """
    if isinstance(filesystem, PatientS3):
        written = _put_s3(path, content, filesystem.store)
    else:
        written = _put_local(path, content)
    if written:
        return True
    # A put whose answer was lost is tried again by the client, and then finds its own first try.
    with filesystem.open_input_stream(path) as stream:
        return bytes(stream.read()) == content


def _put_local(path: str, content: bytes) -> bool:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with draft.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(draft, target)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def _put_s3(path: str, content: bytes, store: StoreSettings) -> bool:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    endpoint = s3_endpoint()
    config = Config(
        retries={"mode": "standard", "total_max_attempts": store.attempts},
        connect_timeout=store.connect_timeout_s,
        read_timeout=store.read_timeout_s,
        s3={"addressing_style": "path" if endpoint else "auto"},  # as pyarrow and delta-rs do
    )
    bucket, _, key = path.partition("/")
    try:
        client = boto3.client("s3", endpoint_url=endpoint, config=config)
        client.put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in (PRECONDITION_FAILED, CONFLICT):
            return False
        raise OSError(str(error)) from error
    except BotoCoreError as error:
        raise OSError(str(error)) from error
    return True


def map_in_threads(
    read: Callable[[_Value], _Result], values: Iterable[_Value]
) -> Iterator[_Result]:
    """Yield `read(value)` for each value, in order, from threads: reads wait for the store."""
    with ThreadPoolExecutor(CONCURRENT_REQUESTS) as pool:
        yield from pool.map(read, values)


@contextmanager
def translate_storage_errors(
    what: str, errors: tuple[type[Exception], ...] = (OSError,)
) -> Iterator[None]:
    """Turn an error of the store into one message: `what` failed, why, and what to do.

    Raises:
        WorkspaceError: in place of any of `errors`.
    """
    try:
        yield
    except errors as error:
        raise WorkspaceError(f"{what}: {error_text(error)}: {error_remedy(error)}") from None


def error_text(error: Exception) -> str:
    """Return a store's message on one line, without colours and without the response body.

    The body is cut off because S3 repeats the access key, and what was signed, in it. Other stores
    repeat the key in the message itself, so keys of the environment are redacted there.
    """
    text = _TREE.sub(" ", _COLOURS.sub("", str(error)))
    text = re.split(r"<\?xml|<Error", text)[0]
    for name in _KEYS:
        text = redact_key(text, os.environ.get(name, ""), name)
    return " ".join(text.split()).rstrip(" -:.")


def error_remedy(error: Exception) -> str:
    """Return what a user can do about a store's error."""
    return next(remedy for pattern, remedy in _REMEDIES if re.search(pattern, str(error)))


def is_transient(error: Exception) -> bool:
    """Return whether the same request may succeed a moment later."""
    return error_remedy(error) == _TRY_LATER


def redact_key(text: str, key: str, shown: str) -> str:
    """Replace a key in a text by `[shown]`, also where it is escaped as in JSON."""
    if len(key) < _SHORTEST_KEY:
        return text
    return text.replace(key, f"[{shown}]").replace(json.dumps(key)[1:-1], f"[{shown}]")
