"""FPMC: personalized factorised Markov chains: what follows the last item, and the user's taste.

Baskets of one item. Users that are scored are never trained on, so that no taste of theirs is known
and the transition alone ranks for them, as in the comparisons of session-based work (Li et al.
2017, "Neural Attentive Session-based Recommendation").
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dualrec.baselines.baseline import Histories, Items, Parameters
from dualrec.baselines.networks import HistoryBatch, network_baseline

DEVIATION = 0.05  # of the factors at the start
# items a target is compared with at a step; the paper samples one: more noise, the same mean
NEGATIVES = 10


class PersonalizedChain(nn.Module):
    """The factorised cube: <V^{U,I}_u, V^{I,U}_i> + <V^{I,L}_i, V^{L,I}_l> for user u, item i and
    last item l.

    User 0, whom training does not know, has no taste: zeros.
    """

    def __init__(self, items: Items, parameters: Parameters) -> None:
        super().__init__()
        self.dimension = int(parameters["dimension"])
        self.user = self._users(0)  # V^{U,I}
        self.last = nn.Embedding(len(items.item_ids) + 1, self.dimension)  # V^{L,I}
        self.next = nn.Embedding(
            len(items.item_ids), 2 * self.dimension
        )  # V^{I,U} and V^{I,L} side by side
        for embedding in (self.last, self.next):
            nn.init.normal_(embedding.weight, std=DEVIATION)
        self.register_state_dict_post_hook(_drop_training_users)

    def prepare(self, training: Histories) -> None:
        """Add factors for every training user."""
        self.user = self._users(len(training))

    def _users(self, known: int) -> nn.Embedding:
        users = nn.Embedding(
            known + 1, self.dimension, padding_idx=0
        )  # from N(0, 1), and zeros for user 0
        with torch.no_grad():
            users.weight *= DEVIATION
        return users

    def forward(self, batch: HistoryBatch) -> Tensor:
        """Return states float32 (n, length, 2 d) after each position: the user's factors and the
        last item's."""
        last = self.last(batch.inputs)
        return torch.cat([self.user(batch.users)[:, None].expand_as(last), last], -1)

    def scores(self, states: Tensor) -> Tensor:
        """Return scores float32 (..., N)."""
        return states @ self.next.weight.T


def _drop_training_users(
    module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]
) -> None:
    """Keep user 0's factors alone: no other user is ever scored, and the shape is that of a new
    network."""
    state[f"{prefix}user.weight"] = state[f"{prefix}user.weight"][:1]


def sampled_ranking_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the paper's S-BPR: the mean of -ln sigma(score of the target - score of another item)
    over sampled items.

    Args:
        scores: float32 (n, N).
        targets: int64 (n,), columns.
    """
    others = torch.randint(scores.shape[1] - 1, (len(targets), NEGATIVES))
    others += others >= targets[:, None]
    return -functional.logsigmoid(
        scores.gather(1, targets[:, None]) - scores.gather(1, others)
    ).mean()


BASELINE = network_baseline(
    "FPMC",
    "Rendle, Freudenthaler and Schmidt-Thieme 2010, Factorizing Personalized Markov Chains for "
    "Next-Basket Recommendation, WWW",
    {
        "dimension": (64, 32, 128),
        "window": (20,),
        "learning_rate": (0.001, 0.003, 0.01),
        "weight_decay": (0.0, 0.01, 0.1),
        "batch_size": (512, 1024, 2048),
    },
    PersonalizedChain,
    every_position=True,
    loss=sampled_ranking_loss,
)
