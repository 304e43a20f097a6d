import torch

from t2i_core.diffusion.chance import Chance
from t2i_core.systems.condition import Condition, Known, LowRes, Text


def whole(size: int = 3) -> Condition:
    mask = torch.tensor([[True, True, False, False], [True] * 3 + [False], [True] + [False] * 3])[:size]
    picture = torch.arange(size * 12.0).view(size, 3, 2, 2)
    return Condition(
        text=Text(ids=torch.arange(4 * size).view(size, 4), mask=mask),
        image=torch.arange(size * 5.0).view(size, 5),
        low=LowRes(picture=picture, level=torch.linspace(0, 1, size)),
        known=Known(picture=picture, mask=picture[:, :1] > 3),
        keep={"image": torch.arange(size) > 0},
    )


def test_every_tensor_of_a_condition_is_changed_and_missing_ones_stay_missing():
    chosen = whole().map(lambda tensor: tensor[[2]])

    assert chosen.text.ids.tolist() == [[8, 9, 10, 11]] and chosen.text.features is None
    assert chosen.image.shape == (1, 5) and chosen.low.level.tolist() == [1]
    assert chosen.known.picture.shape == (1, 3, 2, 2) and chosen.known.mask.shape == (1, 1, 2, 2)
    assert chosen.keep["image"].tolist() == [True]
    assert Condition().map(torch.neg) == Condition()


def test_text_is_cut_to_the_longest_caption():
    text = Text(ids=whole().text.ids, mask=whole().text.mask, features=torch.zeros(3, 4, 7)).trimmed()

    assert text.ids.shape == text.mask.shape == (3, 3) and text.features.shape == (3, 3, 7)


def test_values_are_never_overwritten_and_dropping_adds_up():
    before = whole()

    after = before.kept("image", torch.tensor([True, True, False])).kept("text", torch.tensor([False, True, True]))

    assert after.image is before.image and after.text is before.text
    assert after.keep["image"].tolist() == [False, True, False]
    assert after.keep["text"].tolist() == [False, True, True]
    assert before.keep.keys() == {"image"}


def test_fields_are_dropped_as_often_as_told_independently_and_by_the_sample():
    rates = {"text": 0.3, "image": 0.1, "low": 0.0}
    chance = Chance(0, torch.arange(20_000))

    keep = Condition().dropped(rates, chance).keep

    dropped = {name: 1 - float(mask.float().mean()) for name, mask in keep.items()}
    assert dropped.keys() == {"text", "image"}
    for name, share in dropped.items():
        assert abs(share - rates[name]) < 3 * (rates[name] * (1 - rates[name]) / 20_000) ** 0.5
    both = 1 - float((keep["text"] | keep["image"]).float().mean())
    assert abs(both - 0.03) < 0.004
    again = Condition().dropped(rates, Chance(0, torch.arange(500, 516))).keep["text"]
    assert torch.equal(again, keep["text"][500:516])
