"""Training curves as a picture. Knows the metrics that training reports."""

from pathlib import Path
from typing import Any


def draw_curves(history: dict[str, Any], path: Path) -> None:
    """Write a PNG: the loss of steps and epochs over the examples seen, and the learning rate
    below.

    Args:
        history: `epochs` and `steps`, as `train.py` reports them.
    """
    from matplotlib.figure import Figure

    epochs, steps = history["epochs"], history["steps"]
    total_steps, total_examples = steps[-1]["step"], sum(epoch["examples"] for epoch in epochs)
    seen = [step["step"] * total_examples / total_steps for step in steps]
    ends = [
        sum(epoch["examples"] for epoch in epochs[: number + 1]) for number in range(len(epochs))
    ]
    figure = Figure(figsize=(7, 5), layout="constrained")
    loss, rate = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    loss.plot(
        seen,
        [step["loss"] for step in steps],
        color="0.75",
        linewidth=0.8,
        label="training, single steps",
    )
    loss.plot(
        ends, [epoch["train_loss"] for epoch in epochs], "o-", label="training, mean of the epoch"
    )
    loss.plot(ends, [epoch["validation_loss"] for epoch in epochs], "s-", label="validation")
    loss.set_ylabel("loss (nats a token)")
    loss.legend()
    rate.plot(seen, [step["learning_rate"] for step in steps], color="0.4")
    rate.set_ylabel("learning rate")
    rate.set_xlabel("examples seen")
    figure.savefig(path, dpi=120)
