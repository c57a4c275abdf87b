"""The state of a training of the sequence model, and its checkpoint on disk.

Knows no data and no training loop.
"""

import json
from pathlib import Path
from typing import Any

from ray.train import get_checkpoint

from dualrec.sequence.artifact import METRICS, WEIGHTS


class TrainingState:
    """The epochs so far with their metrics, the optimizer, and the last and the best weights.

    Attributes:
        history: the metrics of each epoch, in order.
        best, weights: tensors by name, of the best and of the last epoch.
        optimizer: its state_dict.
    """

    def __init__(self) -> None:
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] = {}
        self.weights: dict[str, Any] = {}
        self.optimizer: dict[str, Any] = {}

    @property
    def epoch(self) -> int:
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        losses = [metrics["validation_loss"] for metrics in self.history]
        return losses.index(min(losses)) + 1 if losses else 0

    @property
    def epochs_without_gain(self) -> int:
        return self.epoch - self.best_epoch

    def add(self, metrics: dict[str, float], network: Any, optimizer: Any) -> None:
        """Append an epoch and its metrics, and copy its weights."""
        from dualrec.sequence.network import cpu_weights

        self.history.append(metrics)
        self.weights = cpu_weights(network)
        self.optimizer = optimizer.state_dict()
        if self.epochs_without_gain == 0:
            self.best = self.weights

    @classmethod
    def resume(cls, network: Any) -> "TrainingState":
        """Load Ray Train's latest checkpoint, weights into the network; a new state without one."""
        import torch
        from safetensors.torch import load_file

        state, checkpoint = cls(), get_checkpoint()
        if checkpoint is None:
            return state
        with checkpoint.as_directory() as folder:
            state.history = json.loads(Path(folder, METRICS).read_text())["epochs"]
            state.best = load_file(Path(folder, WEIGHTS))
            last = torch.load(Path(folder, "last.pt"), weights_only=True)
        network.load_state_dict(last["weights"])
        state.optimizer = last["optimizer"]
        return state

    def save(self, folder: Path) -> None:
        """Write the best weights, the last ones with the optimizer, and the metrics."""
        import torch
        from safetensors.torch import save_file

        save_file(self.best, folder / WEIGHTS)
        torch.save({"weights": self.weights, "optimizer": self.optimizer}, folder / "last.pt")
        best = self.history[self.best_epoch - 1]
        (folder / METRICS).write_text(json.dumps({"best": best, "epochs": self.history}, indent=2))
