"""What of a scene can be read from a frozen encoder's features: the ceiling for a picture model that reads them.

Usage: python tests/benchmarks/probe.py ENCODER... [--language wide|plain] [--train 1200] [--test 300] [--ridge 0.1]

A ridge regression learns attributes from captions of training scenes, and is asked on other scenes told as in
training, in new sentences, by new words of known things, and by both. It reads either the mean of all tokens (pooled)
or, as attention could, the mean of the tokens of the word itself (word), for which the probe is told where that word
stands. Color, shape and background are of scenes of one object, relations of scenes of two. Each layer's tokens are
brought to unit variance (LayerNorm), but for the rows that say otherwise; layers are counted from the end.
"""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from t2i_core.encoders.config import FeaturesConfig
from t2i_core.encoders.encoder import FrozenEncoder
from t2i_core.encoders.hf_folder import CONFIG_NAME, read_sizes
from t2i_core.encoders.open import find_encoder
from t2i_core.evaluation.judges.probe import Probe
from t2i_core.samples.scenes import BACKGROUNDS, COLORS, RELATIONS, SHAPES, Scene, caption_scene, make_scene
from t2i_core.samples.scenes import pick_wording as plain_wording
from t2i_core.samples.wordings import HELD_OUT, WIDE, Language, told

CLASSES = {"color": list(COLORS), "shape": list(SHAPES), "background": list(BACKGROUNDS), "relation": list(RELATIONS)}
TRAIN_SEED, TEST_SEED = 0, 77
PLAIN = Language(("",))


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """N scenes in words.

    Attributes:
        labels: of each attribute (N,) int64, -1 where a scene has none.
        pooled: (N, D), mean of all tokens.
        words: of each attribute (N, D), mean of the tokens of its word.
    """

    labels: Mapping[str, Tensor]
    pooled: Tensor
    words: Mapping[str, Tensor]


def scenes(seed: int, number: int) -> list[Scene]:
    """Give scenes of one object and of two in their places."""
    drawn = (make_scene(seed, i) for i in range(10 * number))
    return list(islice((scene for scene in drawn if scene.task in ("single", "position")), number))


def value_of(scene: Scene, attribute: str) -> str | None:
    """Say what an attribute of a scene is, if the probe asks for it."""
    if attribute == "relation":
        return scene.relation
    if scene.task != "single":
        return None
    return scene.background if attribute == "background" else getattr(scene.objects[0], attribute)


def span_of(text: str, words: Sequence[str]) -> tuple[int, int]:
    """Find the one of some words that a text has; where one holds another, the longer one."""
    pattern = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    found = re.search(rf"\b({pattern})\b", text)
    assert found, (text, words)
    return found.span()


def tokens_between(encoder: FrozenEncoder, text: str, span: tuple[int, int]) -> slice:
    """Say which tokens a part of a text has, by how many there are before its start and its end."""
    start, end = (int(encoder.tokenize([text[:at].strip()]).lengths[0]) - 1 for at in span)
    return slice(start, max(end, start + 1))


def read(encoder: FrozenEncoder, found: Sequence[Scene], texts: list[str], language: Language) -> Told:
    """Encode scenes in words, and find the word of each attribute."""
    features = encoder.encode(texts)
    labels: dict[str, list[int]] = {name: [] for name in CLASSES}
    words = {name: torch.zeros(len(texts), features.tokens.shape[2]) for name in CLASSES}
    for i, (scene, text) in enumerate(zip(found, texts, strict=True)):
        for name, classes in CLASSES.items():
            value = value_of(scene, name)
            labels[name].append(-1 if value is None else classes.index(value))
            if value is not None:
                place = tokens_between(encoder, text, span_of(text, language.words.get(value, (value,))))
                words[name][i] = features.tokens[i, place].mean(0)
    pooled = features.tokens.sum(1) / features.mask.sum(1, keepdim=True)
    return Told({name: torch.tensor(each) for name, each in labels.items()}, pooled, words)


def ridge_accuracy(train: Tensor, labels: Tensor, asked: Tensor, truth: Tensor, ridge: float) -> float:
    """Learn classes (N,) from features (N, D), and give the share of others (M, D) that is right."""
    probe = Probe.learn(train.numpy(), [str(label) for label in labels.tolist()], ridge)
    right = [guess == str(label) for guess, label in zip(probe.guess(asked.numpy()), truth.tolist(), strict=True)]
    return sum(right) / len(right)


def ways(train: Told, asked: Told, name: str, num_layers: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Give the features of every way to read an attribute: of the training, and of what is asked."""
    parts = {"word": (train.words[name], asked.words[name]), "pooled": (train.pooled, asked.pooled)}
    for reading, pair in parts.items():
        layers = [each.unflatten(1, (num_layers, -1)) for each in pair]
        for number in range(num_layers):
            yield f"{reading}, layer {number + 1}", layers[0][:, number], layers[1][:, number]
        both = [torch.cat([layer[:, 0], layer[:, -1]], 1) for layer in layers]
        yield f"{reading}, layers 1 and {num_layers}", both[0], both[1]
        yield f"{reading}, all layers", pair[0], pair[1]
        yield f"{reading}, layer 1, each dimension standardized", *standardized(layers[0][:, 0], layers[1][:, 0])


def standardized(train: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Bring each dimension of the training to mean 0 and variance 1, and the other likewise."""
    # Some dimensions of real encoders never vary.
    mean, scale = train.mean(0), train.std(0) + 1e-3
    return (train - mean) / scale, (asked - mean) / scale


def accuracies(train: Told, asked: Told, num_layers: int, ridge: float) -> dict[str, dict[str, float]]:
    """Give the shares that are right, by way of reading and attribute."""
    found: dict[str, dict[str, float]] = {}
    for name in CLASSES:
        ours, theirs = train.labels[name] >= 0, asked.labels[name] >= 0
        for way, known, other in ways(train, asked, name, num_layers):
            share = ridge_accuracy(
                known[ours], train.labels[name][ours], other[theirs], asked.labels[name][theirs], ridge
            )
            found.setdefault(way, {})[name] = share
    return found


def probe(folder: Path, args: argparse.Namespace) -> None:
    """Print a table for an encoder."""
    # What words are before the first layer counts as one.
    num_layers = read_sizes(folder / CONFIG_NAME).num_layers + 1
    config = FeaturesConfig(layers=tuple(range(1, num_layers + 1)), dtype="float32")
    encoder = find_encoder(folder).open(config)
    known, others = scenes(TRAIN_SEED, args.train), scenes(TEST_SEED, args.test)
    plain = args.language == "plain"
    language = PLAIN if plain else WIDE

    def as_trained(found: Sequence[Scene], chance: str) -> list[str]:
        if plain:
            return [caption_scene(scene, plain_wording(i, 0)) for i, scene in enumerate(found)]
        return [told(scene, WIDE, f"{chance}:{i}") for i, scene in enumerate(found)]

    train = read(encoder, known, as_trained(known, "train"), language)
    asked = {"as in training": read(encoder, others, as_trained(others, "test"), language)}
    for name, held_out in HELD_OUT.items():
        texts = [told(scene, held_out, f"test:{i}") for i, scene in enumerate(others)]
        asked[name] = read(encoder, others, texts, held_out)
    tables = {name: accuracies(train, each, num_layers, args.ridge) for name, each in asked.items()}
    print(f"\n{folder.name}, {args.language} language: color, shape, background, relation")
    for way in next(iter(tables.values())):
        cells = (f"{name} {' '.join(f'{v:.2f}' for v in table[way].values())}" for name, table in tables.items())
        print(f"{way}: {'; '.join(cells)}", flush=True)


def main() -> None:
    """Probe all encoders."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("encoders", nargs="+", type=Path, help="folders in the layout of Hugging Face")
    parser.add_argument("--language", choices=("wide", "plain"), default="wide", help="of the training captions")
    parser.add_argument("--train", type=int, default=1200, help="scenes that the probe learns from")
    parser.add_argument("--test", type=int, default=300, help="scenes that it is asked of, in each set")
    parser.add_argument("--ridge", type=float, default=0.1, help="penalty, as a share of the features' variance")
    args = parser.parse_args()
    for folder in args.encoders:
        probe(folder, args)


if __name__ == "__main__":
    main()
