"""Fine-tuning speed: dualrec's batches against the same training with every example padded to 512
tokens.

dualrec's hold rows of like length, compute logits only where there is a label, and take what all
rows begin with once; the other side pads every row and computes every logit. The same model,
adapter, examples, optimizer and schedule; the sides take turns, an epoch each, in one process. Both
see the same steps, so that their losses must agree. Prints examples a second and the validation
loss after the same number of examples.

    python scripts/bench_finetune.py --config jobs/configs/local.yaml --examples 64 --set
    workspace=FOLDER

Needs histories and a sequence model: run `dualrec prepare` and `dualrec train-sequence` with the
same settings first.
"""

import argparse
import os
import sys
import time
from typing import Any

import ray
from rich.console import Console
from rich.table import Table

from dualrec.assets.nodes import ModelPlace
from dualrec.cluster.session import ray_session
from dualrec.cluster.training import KEEP_MEMORY
from dualrec.config.settings import FinetuneSettings, Settings, load_settings
from dualrec.data.prepare import Prepared, prepared
from dualrec.language.batches import Shard, shard_of
from dualrec.language.checks import targets_of
from dualrec.language.encoded_examples import encoded_examples
from dualrec.language.models import LanguageModel, language_model, precision_of
from dualrec.storage.workspace import Workspace

PADDED = 512


class Side:
    """One way of batching, with a model and an optimizer of its own.

    Args:
        pad_to: tokens that every example is padded to; 0 takes the longest of a batch.
        saves: as dualrec trains, with logits only where there is a label and the common beginning
            taken once.
    """

    def __init__(
        self,
        place: ModelPlace,
        preset: LanguageModel,
        settings: FinetuneSettings,
        pad_to: int,
        saves: bool,
    ) -> None:
        import torch

        from dualrec.language.lora import SummedTokenLoss, adapted_model
        from dualrec.language.steps import build_engine

        torch.manual_seed(settings.seed)
        model = adapted_model(str(place.folder()), targets_of(preset, settings), settings)
        loss = SummedTokenLoss(model, shares_prefix=True) if saves else _usual_loss(model)
        self.engine = build_engine(loss, settings, workers=1)
        self.settings, self.pad_to = settings, pad_to
        self.examples, self.seconds = 0.0, 0.0

    def epoch(self, shard: Shard, epoch: int) -> float:
        """Train for an epoch, and return the mean loss of its steps."""
        from dualrec.language.steps import EpochState, seed_epoch, train_adapter_epoch

        seed_epoch(self.settings, epoch, 0)
        started = time.perf_counter()
        totals = train_adapter_epoch(
            self.engine, shard, self.settings, EpochState(epoch, 0, 1, self.pad_to)
        )
        self.seconds += time.perf_counter() - started
        self.examples += totals.examples
        return totals.mean_loss

    def validation_loss(self, shard: Shard) -> float:
        """The mean loss of the validation answers, batched alike for both sides."""
        from dualrec.language.steps import EpochState, evaluate_adapter_epoch

        return evaluate_adapter_epoch(
            self.engine, shard, self.settings, EpochState(1, 0, 1)
        ).mean_loss


def _usual_loss(model: Any) -> Any:
    """The loss as training loops compute it: logits at every place of every row."""
    from torch import Tensor, nn
    from torch.nn import functional

    class UsualLoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Tensor, labels: Tensor) -> Tensor:
            logits = self.model(input_ids=input_ids, use_cache=False).logits
            return functional.cross_entropy(
                logits.flatten(0, 1).float(), labels.flatten(), reduction="sum"
            )

    return UsualLoss()


def examples(
    workspace: Workspace,
    data: Prepared,
    settings: Settings,
    preset: LanguageModel,
    place: ModelPlace,
) -> tuple[Shard, Shard]:
    """Training and validation examples, made as the job makes them."""
    with ray_session(settings.cluster):
        sets = encoded_examples(workspace, data, settings, preset, place)
        training, validation = (
            shard_of(one.iter_batches(batch_format="pyarrow", batch_size=None)) for one in sets
        )  # fmt: skip
    assert not ray.is_initialized()  # its processes would share the cores
    return training, validation


def alone() -> None:
    """Make this process a training of one worker."""
    os.environ |= {
        "DS_ACCELERATOR": "cpu",
        "MASTER_ADDR": "127.0.0.1",
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
    }
    import torch

    torch.distributed.init_process_group(
        "gloo", init_method="tcp://127.0.0.1:0", rank=0, world_size=1
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config")
    parser.add_argument("--set", action="append", dest="overrides", default=[])
    parser.add_argument("--examples", type=int, default=64, help="training examples of an epoch")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if (
        not os.environ.items() >= KEEP_MEMORY.items()
    ):  # read when a process starts: start again, as a worker would
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_MEMORY})
    own = [f"finetune.max_examples={arguments.examples}", f"finetune.epochs={arguments.epochs}"]
    own += ["finetune.lora_dropout=0.0"]  # so that the sides differ in padding only
    settings = load_settings(arguments.config, [*own, *arguments.overrides])
    tuning = settings.finetune.model_copy(
        update={"dtype": precision_of(settings.finetune.dtype, use_gpu=False)}
    )
    workspace = Workspace.of(settings)
    data = prepared(workspace, settings)
    preset, place = language_model(settings)
    training, validation = examples(workspace, data, settings, preset, place)
    alone()
    import torch

    torch.set_num_threads(arguments.threads)
    sides = {
        "like lengths (dualrec)": Side(place, preset, tuning, 0, saves=True),
        f"padded to {PADDED}": Side(place, preset, tuning, PADDED, saves=False),
    }
    table = Table(
        title=f"{data.dataset}, {settings.language.model} in {tuning.dtype}, {arguments.threads} threads, "
        f"{training.lengths.mean():.0f} tokens an example", title_justify="left",
    )  # fmt: skip
    for column in ("examples seen", "side", "examples/s", "training loss", "validation loss"):
        table.add_column(column, justify="left" if column == "side" else "right")
    for epoch in range(1, arguments.epochs + 1):
        for name, side in sides.items():
            loss = side.epoch(training, epoch)
            held_out = side.validation_loss(validation)
            rate = side.examples / side.seconds
            table.add_row(
                f"{side.examples:.0f}", name, f"{rate:.2f}", f"{loss:.4f}", f"{held_out:.4f}"
            )
    ours, theirs = (side.examples / side.seconds for side in sides.values())
    console = Console()
    console.print(table)
    console.print(f"ratio of examples a second: {ours / theirs:.1f}")


if __name__ == "__main__":
    main()
