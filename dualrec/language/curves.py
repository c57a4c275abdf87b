"""Training curves as a picture and for TensorBoard. Knows the metrics that training reports."""

from pathlib import Path
from typing import Any


def draw_curves(history: dict[str, Any], path: Path) -> None:
    """Write a PNG: the loss of steps and epochs over the examples seen, and the learning rate below.

    Args:
        history: `epochs` and `steps`, as `train.py` reports them.
    """
    from matplotlib.figure import Figure

    epochs, steps = history["epochs"], history["steps"]
    total_steps, total_examples = steps[-1]["step"], sum(epoch["examples"] for epoch in epochs)
    seen = [step["step"] * total_examples / total_steps for step in steps]
    ends = [sum(epoch["examples"] for epoch in epochs[: number + 1]) for number in range(len(epochs))]
    figure = Figure(figsize=(7, 5), layout="constrained")
    loss, rate = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    loss.plot(seen, [step["loss"] for step in steps], color="0.75", linewidth=0.8, label="training, single steps")
    loss.plot(ends, [epoch["train_loss"] for epoch in epochs], "o-", label="training, mean of the epoch")
    loss.plot(ends, [epoch["validation_loss"] for epoch in epochs], "s-", label="validation")
    loss.set_ylabel("loss (nats a token)")
    loss.legend()
    rate.plot(seen, [step["learning_rate"] for step in steps], color="0.4")
    rate.set_ylabel("learning rate")
    rate.set_xlabel("examples seen")
    figure.savefig(path, dpi=120)


def write_tensorboard(history: dict[str, Any], folder: Path) -> None:
    """Write the same for TensorBoard: single steps by their number, epochs by theirs."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for step in history["steps"]:
            writer.add_scalar("step/loss", step["loss"], int(step["step"]))
            writer.add_scalar("step/learning_rate", step["learning_rate"], int(step["step"]))
        for epoch in history["epochs"]:
            for name, value in epoch.items():
                if name != "epoch":
                    writer.add_scalar(f"epoch/{name}", value, int(epoch["epoch"]))
