import copy

import torch
from torch import nn

from t2i_core.systems.frozen import Frozen


def test_a_frozen_module_is_no_part_of_the_weights_and_moves_along():
    inner = nn.Sequential(nn.Linear(3, 2), nn.Dropout())
    whole = nn.Sequential(nn.Linear(4, 3), Frozen(inner))

    assert list(whole.state_dict()) == ["0.weight", "0.bias"]
    assert len(list(whole.parameters())) == 2
    assert not inner[1].training and not inner[0].weight.requires_grad
    assert whole.train()[1] and not inner[1].training
    whole.to(torch.float64)
    assert inner[0].weight.dtype == torch.float64
    assert copy.deepcopy(whole)[1] is whole[1]


def test_gradients_pass_through_a_frozen_module_and_leave_nothing_in_it():
    inner = nn.Linear(3, 2)
    whole = nn.Sequential(nn.Linear(4, 3), Frozen(inner))

    whole(torch.ones(1, 4)).sum().backward()

    assert whole[0].weight.grad.any()
    assert inner.weight.grad is None
