import pytest
import torch

from t2i_core.models.layers import MANY_KEYS, attend


@pytest.mark.parametrize("num_keys", [MANY_KEYS - 1, MANY_KEYS])
@pytest.mark.parametrize("masked", [False, True])
def test_few_keys_and_many_are_attended_to_alike(num_keys: int, masked: bool) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 8, dtype=torch.double) for n in (5, num_keys, num_keys))
    mask = torch.rand(2, num_keys) < 0.3 if masked else None

    scores = torch.einsum("bhnd,bhld->bhnl", q, k) / 8**0.5
    seen = torch.ones(2, num_keys) if mask is None else mask
    shares = scores.exp() * seen[:, None, None]
    expected = torch.einsum("bhnl,bhld->bhnd", shares / shares.sum(-1, keepdim=True), v)

    torch.testing.assert_close(attend(q, k, v, mask), expected)
