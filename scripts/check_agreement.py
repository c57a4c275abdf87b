"""Do our baselines come out as an independent implementation of the same models does, that of
RecBole?

Both learn from the same training users, stop by the same rule on the same validation users and are
scored by the same
lines of this file on the same test users: the movie that comes next, among the whole catalog but
what was watched. The last movie of each alone would be few cases, so the last ten of each are asked
for, each from all before it; the figures of the last alone stand beside them.
RecBole has an environment of its own, in which dualrec is not needed (docs/agreement.md lists what
it takes). Run the first command, then the second, then the first again for the table; a fit whose
figures are there is not repeated.

    python scripts/check_agreement.py --set data.source=ml-100k --folder agreement
    RECBOLE/bin/python scripts/check_agreement.py --recbole --folder agreement

Needs histories: run `dualrec prepare` with the same settings first. Every process takes one thread.
"""

import argparse
import importlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

WINDOW, BATCH, EPOCHS, PATIENCE, CUT_OFF = 20, 240, 30, 2, 10
PLACES = 10  # of each validation and test user
START = 0  # stands before every history as it does in our networks; to RecBole it is one item more
SPLIT = "split"  # what RecBole calls the data set
SHARED = {"window": WINDOW, "batch_size": BATCH, "weight_decay": 0.0}

# Of each model the sizes as ours and as RecBole's options name them; the rest of RecBole's options
# is in `_config`.
CHOICES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "SASRec": (
        {"dimension": 64, "blocks": 2, "heads": 2, "dropout": 0.2, "learning_rate": 0.001},
        {"hidden_size": 64, "inner_size": 64, "n_layers": 2, "n_heads": 2, "hidden_act": "relu"}
        | {"hidden_dropout_prob": 0.2, "attn_dropout_prob": 0.2, "learning_rate": 0.001},
    ),
    "NARM": (
        {
            "dimension": 50,
            "hidden": 100,
            "item_dropout": 0.25,
            "context_dropout": 0.5,
            "learning_rate": 0.001,
        },
        {
            "embedding_size": 50,
            "hidden_size": 100,
            "n_layers": 1,
            "dropout_probs": [0.25, 0.5],
            "learning_rate": 0.001,
        },
    ),
    "STAMP": (
        {"dimension": 64, "learning_rate": 0.002},
        {"embedding_size": 64, "learning_rate": 0.002},
    ),
    "FPMC": (
        {"dimension": 64, "learning_rate": 0.005},
        {"embedding_size": 64, "learning_rate": 0.005},
    ),
}

Case = dict[
    str, Any
]  # history: item numbers from 1, oldest first; target: the number that comes next; last: whether nothing follows
Figures = dict[str, float]

logger = logging.getLogger("agreement")


def accuracy(scores: np.ndarray, cases: Sequence[Case]) -> Figures:
    """HR@10 and NDCG@10 of the targets among the items that their histories lack; of all, and of
    last items alone.

    Args:
        scores: float32 (cases, N); column i is item number i + 1.
    """
    scores = scores.copy()
    for row, case in enumerate(cases):
        scores[row, np.array(case["history"]) - 1] = -np.inf
    targets = np.array([case["target"] for case in cases]) - 1
    ahead = (scores > scores[np.arange(len(cases)), targets][:, None]).sum(1)
    hits = ahead < CUT_OFF
    gains = hits / np.log2(ahead + 2)
    last = np.array([case["last"] for case in cases])
    return {
        "HR@10": float(hits.mean()),
        "NDCG@10": float(gains.mean()),
        "last HR@10": float(hits[last].mean()),
        "last NDCG@10": float(gains[last].mean()),
    }


# What runs beside dualrec.


def write_split(folder: Path, config: str | None, overrides: list[str]) -> None:
    """Write histories and cases as item numbers: split.json for both sides, and the files that
    RecBole reads."""
    from dualrec.config.settings import load_settings
    from dualrec.data.prepare import prepared
    from dualrec.storage.schemas import HISTORIES
    from dualrec.storage.workspace import Workspace

    settings = load_settings(config, overrides)
    workspace = Workspace.of(settings)
    data = prepared(workspace, settings)
    ids = data.catalog.column("item_id").to_numpy()

    def histories(split: str) -> list[list[int]]:
        table = workspace.read_table(f"{data.histories}/split={split}", HISTORIES).sort_by(
            "user_id"
        )
        return [
            (np.searchsorted(ids, row) + 1).tolist() for row in table.column("item_ids").to_pylist()
        ]

    (folder / SPLIT).mkdir(parents=True, exist_ok=True)
    train = histories("train")
    _write_examples(
        folder, "train", [case for user, row in enumerate(train) for case in _cases(user, row, 0)]
    )
    written: dict[str, Any] = {"items": len(ids), "train": train}
    for split in ("validation", "test"):
        written[split] = [
            case
            for user, row in enumerate(histories(split))
            for case in _cases(user, row, max(len(row) - PLACES, 1))
        ]
        _write_examples(folder, split, written[split])
    (folder / "split.json").write_text(json.dumps(written))


def _cases(user: int, numbers: list[int], first: int) -> list[Case]:
    """The places of a history from `first` on."""
    return [
        {
            "user": user,
            "history": numbers[:place],
            "target": numbers[place],
            "last": place == len(numbers) - 1,
        }
        for place in range(first, len(numbers))
    ]


def _write_examples(folder: Path, split: str, cases: list[Case]) -> None:
    lines = ["user_id:token\titem_id_list:token_seq\titem_id:token"]
    for case in cases:
        inputs = [START, *case["history"]][-WINDOW:]
        lines.append(f"{split}{case['user']}\t{' '.join(map(str, inputs))}\t{case['target']}")
    (folder / SPLIT / f"{SPLIT}.{split}.inter").write_text("\n".join(lines) + "\n")


def fit_ours(folder: Path, name: str, seed: int) -> Figures:
    """Fit a baseline of dualrec; its figures on test users, and those that stopped it."""
    from dualrec.baselines.baseline import Items, TrainingData
    from dualrec.config.settings import BaselineSettings

    split = json.loads((folder / "split.json").read_text())
    baseline = importlib.import_module(f"dualrec.baselines.{name.lower()}").BASELINE
    parameters = CHOICES[name][0] | SHARED
    settings = BaselineSettings(
        epochs=EPOCHS,
        patience=PATIENCE,
        prefixes_per_epoch=sum(map(len, split["train"])),
        validation_places=1,  # each case is a history of its own
        seed=seed,
    )
    items = Items(
        np.arange(1, split["items"] + 1), np.zeros((split["items"], 1), np.float32)
    )  # texts are not read
    training = [np.array(row, np.int64) for row in split["train"]]
    validation = [
        np.array([*case["history"], case["target"]], np.int64) for case in split["validation"]
    ]
    fitted = baseline.fit(TrainingData(items, training, validation, settings), parameters)
    score = baseline.scorer(fitted.state, items, parameters)
    found = accuracy(
        score([np.array(case["history"], np.int64) for case in split["test"]]), split["test"]
    )
    return {**found, "validation": fitted.ndcg_at_10, "epochs": len(fitted.epochs)}


# What runs beside RecBole.


def fit_theirs(folder: Path, name: str, seed: int) -> Figures:
    """Fit RecBole's model with RecBole's loader, loss and optimizer; the same figures as
    `fit_ours`."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.trainer import Trainer
    from recbole.utils import get_model, init_seed

    split = json.loads((folder / "split.json").read_text())
    config = Config(model=name, dataset=SPLIT, config_dict=_config(folder, name, seed))
    init_seed(seed, True)
    loaders = data_preparation(config, create_dataset(config))
    model = get_model(name)(config, loaders[0].dataset)
    trainer = Trainer(config, model)
    score = _their_scorer(model, split["items"])
    best: Figures = {"validation": -1.0}
    for epoch in range(1, EPOCHS + 1):
        loss = trainer._train_epoch(loaders[0], epoch) / len(loaders[0])
        model.eval()
        reached = accuracy(score(loaders[1].dataset), split["validation"])["NDCG@10"]
        logger.info(
            f"{name} seed {seed} epoch {epoch}: loss {loss:.4f}, validation NDCG@10 {reached:.4f}"
        )
        if reached > best["validation"]:
            best = {
                **accuracy(score(loaders[2].dataset), split["test"]),
                "validation": reached,
                "epochs": epoch,
            }
        elif epoch - best["epochs"] >= PATIENCE:
            break
    return {**best, "epochs": epoch}


def _config(folder: Path, name: str, seed: int) -> dict[str, Any]:
    sampled = {"distribution": "uniform", "sample_num": 1} if name == "FPMC" else None
    return {
        **CHOICES[name][1],
        "loss_type": "BPR" if sampled else "CE",
        "train_neg_sample_args": sampled,
        "data_path": str(folder),
        "benchmark_filename": ["train", "validation", "test"],
        "alias_of_item_id": ["item_id_list"],
        "load_col": {"inter": ["user_id", "item_id_list", "item_id"]},
        "MAX_ITEM_LIST_LENGTH": WINDOW,
        "train_batch_size": BATCH,
        "clip_grad_norm": {"max_norm": 5.0},
        "eval_args": {
            "order": "TO",
            "mode": "full",
            "group_by": "user",
            "split": {"LS": "valid_and_test"},
        },
        "seed": seed,
        "use_gpu": False,
        "show_progress": False,
        "checkpoint_dir": str(folder / "saved"),
    }


def _their_scorer(model: torch.nn.Module, items: int) -> Callable[[Any], np.ndarray]:
    """Scores float32 (rows, N) of a data set's rows, its columns in the order of our item numbers."""

    @torch.no_grad()
    def score(dataset: Any) -> np.ndarray:
        columns = dataset.token2id("item_id", [str(number) for number in range(1, items + 1)])
        rows = dataset.inter_feat
        if hasattr(
            model, "UI_emb"
        ):  # FPMC: users that were not trained on have no factor, as in ours
            rows["user_id"][:] = 0
            model.UI_emb.weight[0] = 0
        return np.asarray(model.full_sort_predict(rows).numpy()[:, columns])

    return score


# What both do.


def fit_all(
    fit: Callable[[Path, str, int], Figures], whose: str, arguments: argparse.Namespace
) -> None:
    """Fit every system with every seed, one file of figures each."""
    for name in arguments.systems:
        for seed in arguments.seeds:
            path = arguments.folder / f"{name}-{whose}-{seed}.json"
            if not path.exists():
                begin = time.perf_counter()
                figures = fit(arguments.folder, name, seed)
                path.write_text(json.dumps({**figures, "seconds": time.perf_counter() - begin}))
            logger.info(f"{path.stem}: {path.read_text()}")


def show(folder: Path) -> None:
    """Print the mean and the standard deviation over seeds of all figures that are there."""
    from rich.console import Console
    from rich.table import Table

    names = ("HR@10", "NDCG@10", "last HR@10", "last NDCG@10", "validation")
    table = Table(
        title="next item, test users; validation: NDCG@10 of validation users", title_justify="left"
    )
    for column in ("system", "whose", "seeds", *names, "epochs"):
        table.add_column(column, justify="left" if column in ("system", "whose") else "right")
    for name in CHOICES:
        for whose in ("ours", "recbole"):
            runs = [
                json.loads(path.read_text())
                for path in sorted(folder.glob(f"{name}-{whose}-*.json"))
            ]
            if runs:
                columns = (np.array([run[key] for run in runs]) for key in names)
                cells = (
                    f"{values.mean():.4f} ± {values.std(ddof=min(len(runs) - 1, 1)):.4f}"
                    for values in columns
                )
                table.add_row(
                    name,
                    whose,
                    str(len(runs)),
                    *cells,
                    ", ".join(str(run["epochs"]) for run in runs),
                )
    Console(width=120).print(table)


def main() -> None:
    """Fit one side, print what is there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--recbole", action="store_true", help="fit RecBole's models, in RecBole's environment"
    )
    parser.add_argument("--folder", type=Path, required=True, help="for the split and the figures")
    parser.add_argument("--systems", nargs="+", choices=list(CHOICES), default=list(CHOICES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--config")
    parser.add_argument("--set", action="append", dest="overrides", default=[])
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    logger.setLevel(logging.INFO)
    torch.set_num_threads(1)
    if arguments.recbole:
        fit_all(fit_theirs, "recbole", arguments)
    else:
        write_split(arguments.folder, arguments.config, arguments.overrides)
        fit_all(fit_ours, "ours", arguments)
        show(arguments.folder)


if __name__ == "__main__":
    main()
