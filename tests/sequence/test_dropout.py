import pytest
import torch

from dualrec.sequence.dropout import Dropout


@pytest.mark.parametrize("chance", [0.1, 0.3, 0.9])
def test_as_many_are_dropped_as_asked_for_and_the_mean_stays(chance: float) -> None:
    torch.manual_seed(0)
    values = torch.ones(333, 1001)
    dropped = Dropout(chance)(values)
    assert float((dropped == 0).float().mean()) == pytest.approx(chance, abs=0.005)
    assert dropped[dropped != 0].unique().tolist() == pytest.approx([1 / (1 - chance)])


def test_rows_and_columns_are_dropped_independently() -> None:
    torch.manual_seed(0)
    gone = (Dropout(0.5)(torch.ones(4096, 8)) == 0).float()
    correlations = torch.corrcoef(gone.T) - torch.eye(8)
    assert float(correlations.abs().max()) < 0.06


def test_gradients_flow_where_values_did() -> None:
    values = torch.ones(7, 9, requires_grad=True)
    dropped = Dropout(0.4)(values)
    dropped.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, dropped.detach())


def test_the_seed_decides_what_is_dropped() -> None:
    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return Dropout(0.5)(torch.ones(64))

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_nothing_is_dropped_outside_training_nor_at_a_chance_of_0() -> None:
    values = torch.rand(5, 5, dtype=torch.bfloat16)
    assert torch.equal(Dropout(0.5).eval()(values), values)
    assert torch.equal(Dropout(0.0)(values), values)
    assert Dropout(0.5)(values).dtype == torch.bfloat16


def test_all_may_be_dropped() -> None:
    assert torch.equal(Dropout(1.0)(torch.ones(8)), torch.zeros(8))
