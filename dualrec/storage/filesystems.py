"""Where bytes lie, a local folder or an S3 bucket, and the clients that reach it, all set up alike.
Knows no artifact.

pyarrow reads and writes, boto3 puts a file where none is yet, delta-rs commits. On S3 each finds
its credentials by the usual AWS ways; AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL names another
endpoint than Amazon's. No key is held, passed on or shown here.
"""

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
from dualrec.storage.redaction import without_key

READERS = 16  # calls that wait for a store at the same time
PRECONDITION_FAILED, CONFLICT = 412, 409

_Value = TypeVar("_Value")
_Result = TypeVar("_Result")
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_COLOURS = re.compile("\x1b\\[[0-9;]*m")
_TREE = re.compile("[↳│└├─]")
_TRY_LATER = "the object store did not answer in time; see that it can be reached (AWS_ENDPOINT_URL), then run the job again"
_ADVICE = [
    (
        r"NotImplemented|not implemented|HTTP status 501\b",
        "this object store lacks what a workspace needs (puts with If-None-Match, for one): take one that has it",
    ),
    (
        r"NO_SUCH_BUCKET|NoSuchBucket|Bucket '.*' not found",
        "create the bucket, or name another with --set workspace=s3://BUCKET/PREFIX",
    ),
    (
        # The answer to a HEAD has no body that says why; with 400, S3 refuses a token that has
        # expired.
        r"(?i)access.?denied|forbidden|expired|signature|invalid.?access.?key|credential|UNRECOGNIZED_CLIENT|InvalidToken"
        r"|HTTP status 400\b",
        "look at the AWS credentials of this process: they are missing, expired, or not allowed to do this",
    ),
    (
        r"(?i)network|connect|timeout|timed out|slow.?down|service.?unavailable|internal.?(server.?)?error"
        r"|HTTP status 5\d\d|response body error",
        _TRY_LATER,
    ),
    (r"(?i)no space left", "make room on the disk, then run the job again"),
    (r"", "name another with --set workspace=FOLDER, or mend its permissions"),
]


class PatientS3(pafs.S3FileSystem):
    """pyarrow's S3 file system, as patient in a Ray worker as in the driver: pickled, pyarrow's own
    forgets its retries.

    Attributes:
        store: how patient.
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
        """Carry where the store is and how patient to be; each process finds its own credentials."""
        return PatientS3, (self._endpoint, self.region, self.store)


def file_system(uri: str, store: StoreSettings = StoreSettings()) -> tuple[pafs.FileSystem, str]:
    """Return the file system of a local path or an s3:// URI, and the path in it.

    Args:
        store: how patiently S3 is asked.

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
    """The endpoint that the environment names, or None for Amazon's."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def delta_options(store: StoreSettings = StoreSettings()) -> dict[str, str]:
    """What delta-rs must be told to reach the same S3 store. It looks for credentials itself."""
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


def side_by_side(read: Callable[[_Value], _Result], values: Iterable[_Value]) -> Iterator[_Result]:
    """What `read` gives for each value, in order, by threads: most of its time is waiting for the
    store."""
    with ThreadPoolExecutor(READERS) as pool:
        yield from pool.map(read, values)


@contextmanager
def told(what: str, errors: tuple[type[Exception], ...] = (OSError,)) -> Iterator[None]:
    """Turn an error of the store into one message with what to do.

    Raises:
        WorkspaceError: in place of any of `errors`.
    """
    try:
        yield
    except errors as error:
        raise WorkspaceError(f"{what}: {plain(error)}: {advice(error)}") from None


def plain(error: Exception) -> str:
    """What a store's error says, on one line, without colours and without the store's own answer.

    The answer is cut off because S3 repeats the access key, and what was signed, in it. Other
    stores repeat it in the message itself, so what of the environment's keys is left there is taken
    out.
    """
    said = _TREE.sub(" ", _COLOURS.sub("", str(error)))
    said = re.split(r"<\?xml|<Error", said)[0]
    for name in _KEYS:
        said = without_key(said, os.environ.get(name, ""), name)
    return " ".join(said.split()).rstrip(" -:.")


def advice(error: Exception) -> str:
    """What to do about a store's error."""
    return next(way_out for pattern, way_out in _ADVICE if re.search(pattern, str(error)))


def may_pass(error: Exception) -> bool:
    """Whether the same request may succeed a moment later."""
    return advice(error) == _TRY_LATER
