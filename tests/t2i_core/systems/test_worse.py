"""What is done to small pictures: JPEG as programs do it, and every way of BSR by counted chance."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensorMode

from t2i_core.diffusion.chance import Chance
from t2i_core.samples.scenes import make_scene, render_scene
from t2i_core.systems.pictures.worse import blurred, bsr, compressed


def pictures(number: int = 6, side: int = 32) -> torch.Tensor:
    scenes = np.stack([np.asarray(render_scene(make_scene(5, i), side)) for i in range(number)])
    return torch.from_numpy(scenes).permute(0, 3, 1, 2) / 127.5 - 1


def through_pillow(picture: torch.Tensor, quality: int) -> torch.Tensor:
    buffer = io.BytesIO()
    levels = ((picture + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    Image.fromarray(levels).save(buffer, "JPEG", quality=quality, subsampling=0)
    return torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1) / 127.5 - 1


@pytest.mark.parametrize(("quality", "side"), [(30, 32), (75, 32), (95, 28)])
def test_jpeg_is_that_of_pillow(quality: int, side: int) -> None:
    before = pictures(side=side)
    ours = compressed(before, torch.full((6,), float(quality)))
    theirs = torch.stack([through_pillow(picture, quality) for picture in before])

    off = (ours - theirs).abs() * 127.5
    # Waves that lie just between two steps may go either way.
    assert off.mean() < 0.5 and (off > 2).float().mean() < 0.05
    assert (ours - before).abs().mean() > 0.9 * (theirs - before).abs().mean() > 0


def test_each_picture_has_a_quality_of_its_own() -> None:
    same = pictures(1).expand(3, -1, -1, -1)

    lost = (compressed(same, torch.tensor([10.0, 50.0, 100.0])) - same).square().mean((1, 2, 3))

    assert lost[0] > lost[1] > lost[2] and lost[2] < 1e-4


def test_bsr_makes_all_pictures_worse_in_ways_of_their_own_whatever_the_batch() -> None:
    before, chance = pictures(), Chance(3, torch.arange(6))
    after = bsr(before, chance)

    assert after.shape == before.shape and after.abs().max() <= 1
    lost = (after - before).square().mean((1, 2, 3))
    assert lost.min() > 1e-5 and lost.max() > 3 * lost.min()
    assert torch.allclose(bsr(before[4:5], Chance(3, torch.tensor([4]))), after[4:5], atol=1e-5)
    assert not torch.allclose(bsr(before, Chance(4, torch.arange(6))), after, atol=1e-2)


def test_bsr_comes_in_every_order() -> None:
    same = pictures(1).expand(200, -1, -1, -1)
    noisy = (bsr(same, Chance(0, torch.arange(200))) - same).diff(dim=3)[..., :4, :4].abs().mean((1, 2, 3))

    # Where noise came last it is there in flat corners, where a blur came after it hardly is.
    assert (noisy > 0.02).any() and (noisy < 0.005).any()


def test_bsr_stays_on_the_card() -> None:
    with FakeTensorMode():
        picture, samples = torch.zeros(2, 3, 12, 12, device="cuda"), torch.arange(2, device="cuda")

        assert bsr(picture, Chance(0, samples)).device.type == "cuda"


def test_a_kernel_of_three_pixels_is_the_one_that_is_known() -> None:
    point = torch.zeros(1, 1, 5, 5)
    point[..., 2, 2] = 1

    spread = blurred(point, torch.tensor([0.6]), reach=1)[0, 0]

    beside = np.exp(-0.5 / 0.36)
    assert spread[2, 1].item() == pytest.approx(beside / (1 + 2 * beside) ** 2)
    assert spread[:, 0].abs().max() == 0 and spread.sum().item() == pytest.approx(1)
