import numpy as np
import torch

from dualrec.baselines.additive_attention import additive_attention


def test_each_place_sums_its_past_by_the_weights_of_the_hidden_layer() -> None:
    queries, keys = torch.tensor([[[0.0], [1.0]]]), torch.tensor([[[2.0], [-1.0]]])
    values = torch.tensor([[[1.0, 0.0], [0.0, 10.0]]])
    sums = additive_attention(queries, keys, values, torch.tensor([3.0]))
    one = 3 / (1 + np.exp(-(0 + 2)))
    two = [3 / (1 + np.exp(-(1 + 2))), 10 * 3 / (1 + np.exp(-(1 - 1)))]
    np.testing.assert_allclose(sums[0].numpy(), [[one, 0], two], rtol=1e-6)


def test_it_equals_the_masked_sum_over_all_pairs_of_places() -> None:
    torch.manual_seed(0)
    queries, keys, values, weight = (
        torch.randn(3, 7, 4),
        torch.randn(3, 7, 4),
        torch.randn(3, 7, 5),
        torch.randn(4),
    )
    attention = torch.sigmoid(queries[:, :, None] + keys[:, None]) @ weight
    expected = attention.tril() @ values
    torch.testing.assert_close(additive_attention(queries, keys, values, weight), expected)
