"""The store's clients: patient, alike, silent about keys, and clear about what to do."""

import logging
import os
import pickle
import traceback
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from dualrec.assets.fetch import resolve_dataset, resolve_model
from dualrec.config.settings import StoreSettings
from dualrec.errors import AssetError, WorkspaceError
from dualrec.publishing.table import open_table
from dualrec.storage.filesystems import (
    PatientS3,
    delta_options,
    error_text,
    file_system,
    is_transient,
    put_once,
)
from dualrec.storage.workspace import Workspace
from tests.object_store import KEYS, answering

REFUSAL = (
    '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>No.</Message>'
    f"<AWSAccessKeyId>{KEYS['AWS_ACCESS_KEY_ID']}</AWSAccessKeyId>"
    f"<StringToSign>{KEYS['AWS_SECRET_ACCESS_KEY']}</StringToSign></Error>"
)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        **KEYS,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


def test_a_file_is_put_once_and_the_first_stays(place: str) -> None:
    workspace = Workspace(place)
    assert workspace.put_once("a/b/1.json", b"first")
    assert not workspace.put_once("a/b/1.json", b"second")
    assert workspace.put_once("a/b/1.json", b"first"), "the same content again is no loss"
    assert workspace.read_bytes("a/b/1.json") == b"first"
    assert [workspace.name_of(info.path) for info in workspace.files("a")] == ["a/b/1.json"]


def test_a_put_that_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        put_once(pafs.LocalFileSystem(), str(tmp_path / "1.json"), b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_says_to_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        WorkspaceError, match=r"1.json: .*No space left on device: make room on the disk"
    ):
        Workspace(str(tmp_path)).put_once("1.json", b"x")


@pytest.mark.usefixtures("keys")
def test_a_file_system_that_came_to_a_worker_is_as_patient_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy = 3  # as often as pyarrow's own asks, once it is pickled
    with answering(lambda n: (503 if n <= busy else 404, "")) as (url, asked):
        sent = pickle.dumps(PatientS3(url, store=StoreSettings(read_timeout_s=3)))
        assert b"AKIA" not in sent and KEYS["AWS_SECRET_ACCESS_KEY"].encode() not in sent
        monkeypatch.delenv("AWS_REGION")
        arrived = pickle.loads(sent)
        with pytest.raises(FileNotFoundError):
            arrived.open_input_stream("bucket/file")
    assert (arrived.region, arrived.store.read_timeout_s) == ("us-east-1", 3)
    assert len(asked) > busy


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_all_clients_follow_the_endpoint_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with answering(lambda _: (403, REFUSAL.format(code="AccessDenied"))) as (url, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setenv(name, url)
        workspace = Workspace("s3://bucket/prefix")
        for act in (
            lambda: workspace.read_bytes("x"),
            lambda: workspace.put_once("x", b""),
            lambda: open_table(workspace),
        ):
            before = len(asked)
            with pytest.raises(WorkspaceError):
                act()
            assert len(asked) > before
    assert all("/bucket" in one for one in asked)


@pytest.mark.usefixtures("keys")
def test_a_store_that_cannot_put_once_is_told_apart_from_one_that_is_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What OpenStack Swift 2.30 answers to a put with If-None-Match.
    said = (
        "<Error><Code>NotImplemented</Code>"
        "<Message>Conditional object PUTs are not supported.</Message></Error>"
    )
    with answering(lambda _: (501, said)) as (url, asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(WorkspaceError, match="this object store lacks what a workspace needs"):
            Workspace("s3://bucket/prefix").put_once("x", b"")
    assert len(asked) == 1


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    "code", ["AccessDenied", "ExpiredToken", "SignatureDoesNotMatch", "InvalidAccessKeyId"]
)
def test_refused_credentials_are_told_without_any_key(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    caplog.set_level(logging.DEBUG, "dualrec")
    with answering(lambda _: (403, REFUSAL.format(code=code))) as (url, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        workspace = Workspace("s3://bucket/prefix")
        for act in (
            lambda: workspace.has("x"),
            lambda: workspace.files("x"),
            lambda: workspace.put_once("x", b""),
            lambda: open_table(workspace),
            lambda: workspace.writing("x", {}).__enter__(),
        ):
            with pytest.raises(WorkspaceError, match="look at the AWS credentials") as caught:
                act()
            assert caught.value.__suppress_context__
            assert not any(key in str(caught.value) + caplog.text for key in KEYS.values())


def test_the_options_of_delta_hold_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store:9000")
    assert delta_options(StoreSettings(read_timeout_s=0.5, connect_timeout_s=0.25, attempts=3)) == {
        "aws_conditional_put": "etag",
        "max_retries": "2",
        "connect_timeout": "250ms",
        "timeout": "1500ms",
        "AWS_ENDPOINT_URL": "http://store:9000",
        "AWS_ALLOW_HTTP": "true",
    }
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://store")
    assert delta_options()["AWS_ALLOW_HTTP"] == "false"


def test_a_key_in_a_uri_is_refused_and_not_repeated() -> None:
    with pytest.raises(
        WorkspaceError, match="s3://…@bucket: a user name or key in a URI"
    ) as caught:
        file_system("s3://AKIAKEY:secret@bucket/prefix")
    assert "AKIAKEY" not in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        "s3://AKIAKEY:secret@bucket/x.zip",
        "s3://AKIAKEY:sec/ret@bucket/x",
        "https://AKIAKEY:secret@host/x.zip",
    ],
)
def test_a_key_in_the_uri_of_data_or_a_model_is_refused_and_not_repeated(
    tmp_path: Path, source: str
) -> None:
    for resolve in (resolve_dataset, resolve_model):
        with pytest.raises(AssetError, match="//…@") as caught:
            resolve(source, tmp_path)
        told = "".join(traceback.format_exception(caught.value))
        assert not any(part in told for part in ("AKIAKEY", "secret", "sec/ret"))


@pytest.mark.usefixtures("keys")
def test_data_that_the_store_refuses_is_told_without_any_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refusal = REFUSAL.replace("No.", f"There is no key {KEYS['AWS_ACCESS_KEY_ID']}").format(
        code="InvalidAccessKeyId"
    )
    listing_is_refused = (404, ""), (403, refusal)
    with answering(lambda number: listing_is_refused[number > 1]) as (url, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(AssetError, match="cannot be read") as caught:
            resolve_dataset("s3://bucket/data", tmp_path)
    assert not any(
        key in "".join(traceback.format_exception(caught.value)) for key in KEYS.values()
    )


@pytest.mark.usefixtures("keys")
def test_a_key_that_a_store_repeats_in_its_own_words_is_taken_out() -> None:
    key = KEYS["AWS_ACCESS_KEY_ID"]
    said = error_text(
        OSError(
            f"AWS Error: the key id {key} is not in our records; "
            f"signed with {KEYS['AWS_SECRET_ACCESS_KEY']}"
        )
    )
    assert (
        said == "AWS Error: the key id [AWS_ACCESS_KEY_ID] is not in our records; "
        "signed with [AWS_SECRET_ACCESS_KEY]"
    )


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        (
            "Generic S3 error: Error getting list response body: HTTP error: "
            "request or response body error",
            True,
        ),
        (
            "HTTP error: error reading a body from connection: "
            "end of file before message length reached",
            True,
        ),
        ("AWS Error UNKNOWN (HTTP status 500) during HeadObject operation: No response body", True),
        (
            "AWS Error UNKNOWN (HTTP status 400) during HeadObject operation: No response body",
            False,
        ),
        ("AWS Error ACCESS_DENIED during HeadObject operation: No response body", False),
        ("Generic DeltaTable error: the table was changed by others", False),
    ],
)
def test_what_may_pass_is_known_from_what_the_clients_say(said: str, passes: bool) -> None:
    assert is_transient(OSError(said)) is passes


def test_an_error_of_delta_becomes_one_plain_line() -> None:
    said = (
        "Generic S3 error\n  \x1b[31m↳\x1b[0m Error performing GET\n"
        "    \x1b[31m↳\x1b[0m 403\n <?xml?><Error>AKIA</Error>"
    )
    assert error_text(OSError(said)) == "Generic S3 error Error performing GET 403"


def test_a_bucket_that_is_not_there_is_named(s3_workspace: str) -> None:
    workspace = Workspace("s3://nowhere-to-be-found/nightly")
    for act in (
        lambda: workspace.writing("x", {}).__enter__(),
        lambda: workspace.put_once("x", b""),
        lambda: open_table(workspace),
    ):
        with pytest.raises(
            WorkspaceError, match=r"nowhere-to-be-found/.*create the bucket, or name another"
        ):
            act()
