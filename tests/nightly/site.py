"""A small site that runs the nightly job: histories that grow, an endpoint that answers, an encoder
with random weights."""

import copy
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path

import pyarrow.fs as pafs

from dualrec.config.settings import Settings, load_settings
from dualrec.language.prompts.texts import prompt_text
from dualrec.storage.workspace import Workspace
from tests.conftest import IN_PROCESS, numbered_movies, write_movielens_1m
from tests.fake_endpoint import FakeEndpoint, Request
from tests.readers import through_delta, through_manifest

ROOT = Path(__file__).parent.parent.parent
USERS, ITEMS = 61, 97
LENGTH = 5  # of a list
SLOW = "language.endpoint.requests_per_second=15"  # so that a night takes some seconds
FIRST, SECOND = "2026-11-01", "2026-11-02"


class Site:
    """Settings and data of the job. Every history is another one, so a prompt tells whose it is.

    Args:
        workspace: where it publishes.
        endpoint: the language model.
        cluster: the address of the tests' Ray cluster, which drivers in processes of their own
            join.
    """

    def __init__(self, folder: Path, workspace: str, endpoint: FakeEndpoint, cluster: str) -> None:
        self.source, self.endpoint, self.workspace, self.cluster = (
            folder / "movielens",
            endpoint,
            workspace,
            cluster,
        )
        endpoint.text = numbered_movies(ITEMS)[ITEMS][0]
        self.lengths = dict.fromkeys(range(1, USERS + 1), 9)
        self.write_histories()
        encoder = write_encoder(folder / "encoder")
        self.settings = [
            f"workspace={workspace}",
            f"cache={folder / 'cache'}",
            f"data.source={self.source}",
            "data.top_items=0",
            "data.shards=2",
            *IN_PROCESS,
            "sequence.preset=paper",
            "sequence.hidden=[8,8]",
            "sequence.dense=8",
            "sequence.epochs=1",
            f"rerank.model={encoder}",
            "ranking.calibration_users=5",
            f"ranking.length={LENGTH}",
            "recommend.split=all",
            "language.model=deepseek-v3",
            f"language.endpoint.url={endpoint.url}",
            "language.endpoint.api_key_env=null",
            "language.endpoint.requests_per_second=1000",
            "language.engine.batch_size=8",
            "nightly.lease_seconds=5",
        ]

    def copied(self, workspace: str) -> "Site":
        """The same site, published nights and all, in another workspace; its source is the first
        night's again."""
        other = copy.copy(self)
        other.workspace, other.lengths = workspace, dict(self.lengths)
        source, target = Workspace(self.workspace), Workspace(workspace)
        pafs.copy_files(source.root, target.root, source.filesystem, target.filesystem)
        other.settings = [f"workspace={workspace}", *self.settings[1:]]
        other.write_histories()
        self.asked()
        return other

    def write_histories(self) -> None:
        """Write the data set as it is now."""
        rows = [
            (user, (user * 7 + step) % ITEMS + 1, 5, 1000 + step)
            for user, length in self.lengths.items()
            for step in range(length)
        ]
        write_movielens_1m(self.source, rows, numbered_movies(ITEMS))

    def watch(self, *users: int) -> None:
        """Let users watch one more movie."""
        for user in users:
            self.lengths[user] += 1
        self.write_histories()

    def options(self, night: str, *more: str, own_cluster: bool = False) -> list[str]:
        """The options of a driver in a process of its own: on the tests' Ray cluster, or with one
        of its own."""
        cluster = "cluster.cpus=4" if own_cluster else f"cluster.address={self.cluster}"
        settings = (*self.settings, cluster, f"recommend.run_date={night}", *more)
        return [word for setting in settings for word in ("--set", setting)]

    def start(self, night: str, *more: str, own_cluster: bool = False) -> "subprocess.Popen[str]":
        """Start the job in a process of its own."""
        return _started("jobs.nightly", *self.options(night, *more, own_cluster=own_cluster))

    def start_killed(self, night: str, point: str, *more: str) -> "subprocess.Popen[str]":
        """Start the job in a process that is killed at a point of its way: see `killed`."""
        return _started("tests.nightly.killed", point, *self.options(night, *more))

    def settings_of(self, night: str, *more: str) -> Settings:
        """The settings of a night, for a driver in this process, which is on the tests' Ray
        cluster."""
        return load_settings(None, [*self.settings, f"recommend.run_date={night}", *more])

    def asked(self) -> Counter[str]:
        """How often each prompt, as traces show it, came since the last call."""
        with self.endpoint.lock:
            seen, self.endpoint.seen = self.endpoint.seen, []
        return Counter(map(_prompt, seen))


def _started(module: str, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", module, *options]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def scored_files(workspace: str) -> int:
    """How many files of scored users there are in a workspace, whole or not."""
    return len(Workspace(workspace).parquet_files("nightly"))


def assert_published_once(site: Site, night: str) -> None:
    """The night is there, for both kinds of readers, with every user once."""
    workspace, run_date = Workspace(site.workspace), date.fromisoformat(night)
    rows = through_manifest(workspace, run_date)
    assert rows == through_delta(workspace, run_date)
    assert [(user, rank) for user, rank, _ in rows] == [
        (user, rank) for user in sorted(site.lengths) for rank in range(1, LENGTH + 1)
    ]


def _prompt(request: Request) -> str:
    return prompt_text(request["messages"])


def write_encoder(folder: Path) -> Path:
    """A sentence encoder of a few thousand random weights."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    letters = [chr(code) for code in range(33, 127)]
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *letters,
        *(f"##{letter}" for letter in letters),
    ]
    plain = folder.with_name("bert")
    plain.mkdir(parents=True)
    (plain / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    shape = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    BertModel(BertConfig(vocab_size=len(words), **shape)).save_pretrained(plain)
    BertTokenizerFast(vocab_file=str(plain / "vocab.txt")).save_pretrained(plain)
    body = Transformer(str(plain))
    SentenceTransformer(modules=[body, Pooling(16)], device="cpu").save(str(folder))
    return folder
