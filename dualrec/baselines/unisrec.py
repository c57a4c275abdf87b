"""UniSRec: items known by the text of their titles, in self-attention over the history.

Titles' frozen sentence embeddings come in; a mixture of experts, each a learned whitening, adapts
them. A Transformer reads the adapted history, and the cosine with every adapted item is its score.
The paper trains the whole on other domains first and then adapts it. There is no other domain here:
everything is trained on the target data alone, which the paper reports as "w/o pre-training".
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dualrec.baselines.baseline import Items, Parameters
from dualrec.baselines.networks import HistoryBatch, network_baseline


class Adaptor(nn.Module):
    """Experts that whiten text vectors, mixed by gates that the text sets.

    For text x the gates are g = softmax(x W2 + noise softplus(x W3)), the noise in training alone,
    and the result is the sum over experts k of g_k (x - b_k) W1_k.
    """

    def __init__(self, text_dimension: int, dimension: int, experts: int, dropout: float) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(experts, text_dimension))
        self.weight = nn.Parameter(
            torch.empty(experts, text_dimension, dimension).normal_(std=0.02)
        )
        self.gate = nn.Parameter(torch.zeros(text_dimension, experts))
        self.noise = nn.Parameter(torch.zeros(text_dimension, experts))
        self.dropout = nn.Dropout(dropout)

    def gates(self, text: Tensor) -> Tensor:
        """Each expert's share, float32 (N, experts); every row sums to 1."""
        logits = text @ self.gate
        if self.training:
            logits = logits + torch.randn_like(logits) * functional.softplus(text @ self.noise)
        return logits.softmax(-1)

    def forward(self, text: Tensor) -> Tensor:
        """Return adapted vectors float32 (N, dimension) of text vectors float32 (N, text
        dimension)."""
        whitened = self.dropout(text)[:, None] - self.shift
        # Gates before the product: one multiplication of matrices takes the whitening and the sum
        # over experts.
        return (self.gates(text)[:, :, None] * whitened).flatten(1) @ self.weight.flatten(0, 1)


class TextAttention(nn.Module):
    """The sequence encoder over adapted text, and its predictions.

    Inductive, an item is its adapted text; transductive (`item_ids` 1), an embedding of its own is
    added.
    """

    def __init__(self, items: Items, parameters: Parameters) -> None:
        super().__init__()
        dimension, dropout = int(parameters["dimension"]), float(parameters["dropout"])
        # The catalog brings the vectors again wherever the state is read.
        self.register_buffer("text", torch.from_numpy(items.text_vectors), persistent=False)
        self.adaptor = Adaptor(
            items.text_vectors.shape[1],
            dimension,
            int(parameters["experts"]),
            float(parameters["adaptor_dropout"]),
        )
        self.item = nn.Embedding(len(items.item_ids), dimension) if parameters["item_ids"] else None
        self.start = nn.Parameter(
            torch.empty(1, dimension).normal_(std=0.02)
        )  # of START, number 0: it has no text
        self.place = nn.Embedding(int(parameters["window"]), dimension)
        for embedding in (self.item, self.place):
            if embedding is not None:
                nn.init.normal_(embedding.weight, std=0.02)
        self.first = nn.Sequential(nn.LayerNorm(dimension), nn.Dropout(dropout))
        block = nn.TransformerEncoderLayer(
            dimension,
            int(parameters["heads"]),
            int(parameters["inner"]),
            dropout,
            "gelu",
            batch_first=True,
        )
        self.blocks = nn.TransformerEncoder(
            block, int(parameters["blocks"]), enable_nested_tensor=False
        )
        self.temperature = float(parameters["temperature"])

    def item_vectors(self) -> Tensor:
        """Return vectors float32 (N, d) of the catalog's items."""
        adapted = self.adaptor(self.text)
        return torch.as_tensor(adapted if self.item is None else adapted + self.item.weight)

    def forward(self, batch: HistoryBatch) -> Tensor:
        """Return states float32 (n, length, d) after each position."""
        length = batch.inputs.shape[1]
        vectors = torch.cat([self.start, self.item_vectors()])
        states = self.first(
            functional.embedding(batch.inputs, vectors) + self.place.weight[:length]
        )
        future = nn.Transformer.generate_square_subsequent_mask(length)
        return torch.as_tensor(self.blocks(states, mask=future, is_causal=True))

    def scores(self, states: Tensor) -> Tensor:
        """Return scores float32 (..., N): cosines over the temperature."""
        directions = functional.normalize(self.item_vectors(), dim=-1)
        return functional.normalize(states, dim=-1) @ directions.T / self.temperature


BASELINE = network_baseline(
    "UniSRec",
    "Hou et al. 2022, Towards Universal Sequence Representation Learning for Recommender "
    "Systems, KDD",
    {
        "item_ids": (1, 0),  # the authors' code adds them by default; the paper reports both
        "dimension": (300, 64, 128),
        "blocks": (2,),
        "heads": (2,),
        "inner": (256,),
        "experts": (8,),
        "dropout": (0.5,),
        "adaptor_dropout": (0.2,),
        "temperature": (0.07,),
        "window": (50,),
        "learning_rate": (0.001, 0.0003, 0.003, 0.01),
        "weight_decay": (0.0,),
        "batch_size": (2048,),
    },
    TextAttention,
    every_position=True,
)
