"""Encoders in the layout of Hugging Face: tiny ones made here, and folders that ask for more than an encoder."""

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from safetensors.torch import load_file, save_file

from t2i_core.encoders.config import FeaturesConfig
from t2i_core.encoders.encoder import BATCH, FrozenEncoder
from t2i_core.encoders.hf_folder import read_sizes
from t2i_core.encoders.open import find_encoder
from t2i_core.errors import ConfigError

transformers = pytest.importorskip("transformers")

TEXTS = ["a red circle", "two blue squares on a gray background", ""]
WORDS = ["[PAD]", "[END]", "a", "red", "circle", "two", "blue", "squares", "on", "gray", "background"]


def save(folder: Path, model: Any) -> Path:
    folder.mkdir()
    model.eval().save_pretrained(folder)
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[PAD]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.post_processor = tokenizers.processors.TemplateProcessing(single="$A [END]", special_tokens=[("[END]", 1)])
    backend.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = transformers.T5Config(vocab_size=16, d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2)
    # As most are published: with a decoder, which is not read.
    return save(tmp_path_factory.mktemp("hf") / "t5", transformers.T5ForConditionalGeneration(config))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BertConfig(vocab_size=16, max_position_embeddings=20, **sizes)
    return save(tmp_path_factory.mktemp("hf") / "bert", transformers.BertModel(config))


def encoder(folder: Path, **config: object) -> FrozenEncoder:
    return find_encoder(folder).open(FeaturesConfig.parse({"dtype": "float32"} | config))


@pytest.mark.parametrize("kind", ["t5", "bert"])
@torch.inference_mode()
def test_it_gives_what_transformers_gives(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    own = {"t5": transformers.T5EncoderModel, "bert": transformers.BertModel}[kind].from_pretrained(folder)

    found, before = (encoder(folder, layers=(layer,), max_length=16).encode(TEXTS) for layer in (1, 2))

    expected = own(input_ids=torch.tensor([[5, 6, 7, 8, 2, 9, 10, 1]]), output_hidden_states=True).hidden_states
    assert found.tokens.shape == (3, 16, 8)
    assert found.mask.sum(1).tolist() == [4, 8, 1]
    torch.testing.assert_close(found.tokens[1, :8], expected[-1][0])
    torch.testing.assert_close(before.tokens[1, :8], expected[-2][0])
    torch.testing.assert_close(found.pooled[1], expected[-1][0].mean(0))


def test_layers_lie_side_by_side_none_louder_than_the_others(bert: Path) -> None:
    each = [encoder(bert, layers=(layer,)).encode(TEXTS).tokens for layer in (1, 3)]
    both = encoder(bert, layers=(1, 3)).encode(TEXTS).tokens

    # The third from the end of two is what words are before the first: the same for a word in its place, whatever else.
    beside = encoder(bert, layers=(3,)).encode(["a red blue"]).tokens
    assert torch.equal(beside[0, :2], each[1][0, :2]) and not torch.equal(beside[0, 2], each[1][0, 2])
    assert both.shape == (3, 20, 16)
    for layer, half in zip(each, both.chunk(2, dim=-1), strict=True):
        torch.testing.assert_close(half[1, :8], torch.nn.functional.layer_norm(layer[1, :8], (8,)))
    with pytest.raises(ConfigError, match="from 1 to 3"):
        encoder(bert, layers=(4,))


@pytest.mark.parametrize("kind", ["t5", "bert"])
def test_a_caption_gives_the_same_bits_beside_longer_ones(kind: str, request: pytest.FixtureRequest) -> None:
    own, texts = encoder(request.getfixturevalue(kind)), ["a " * (1 + 7 * number % 18) for number in range(2 * BATCH)]

    whole = own.encode(texts)

    for row, text in enumerate(texts):
        alone = own.encode([text])
        assert alone.tokens[0].equal(whole.tokens[row]) and alone.pooled[0].equal(whole.pooled[row])
        assert whole.mask[row].sum() == 2 + 7 * row % 18


def test_captions_are_cut_and_counted(t5: Path, bert: Path) -> None:
    read = encoder(t5, max_length=4).tokenize(["a red circle", "a red red circle"])

    assert (read.ids.tolist(), read.num_cut) == ([[2, 3, 4, 1], [2, 3, 3, 1]], 1)
    assert encoder(bert).encode(["a"]).tokens.shape == (1, 20, 8)
    with pytest.raises(ConfigError, match="reads 20 tokens"):
        encoder(bert, max_length=21)


def changed(folder: Path, target: Path, **config: object) -> Path:
    target.mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        (target / name).write_bytes((folder / name).read_bytes())
    told = json.loads((folder / "config.json").read_text()) | config
    (target / "config.json").write_text(json.dumps(told))
    return target


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "llama"}, "kind 'llama'"),
        ({"num_layers": 10**9}, "num_layers"),
        ({"d_ff": 100_000}, "at least 3,2"),
        ({"d_model": 7}, "does not fit its config"),
        ({"num_layers": 3}, "does not fit its config"),
        ({"vocab_size": 8}, "more tokens than its encoder knows"),
    ],
)
def test_a_config_that_claims_something_else_is_refused(
    t5: Path, tmp_path: Path, config: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        encoder(changed(t5, tmp_path / "claims", **config))


def test_what_asks_for_code_is_not_heard(t5: Path, tmp_path: Path) -> None:
    folder = changed(t5, tmp_path / "code", auto_map={"AutoModel": "evil.Model"}, _name_or_path="evil/repository")
    (folder / "evil.py").write_text("raise SystemExit('it ran')")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/repository"}')

    assert encoder(folder).encode(["a"]).tokens.equal(encoder(t5).encode(["a"]).tokens)
    assert "auto_map" not in read_sizes(folder / "config.json").model_dump()


def test_weights_are_there_whole_and_in_the_folder_itself(t5: Path, tmp_path: Path) -> None:
    folder = changed(t5, tmp_path / "lacks")
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.block.1.layer.0.SelfAttention.q.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks encoder.block.1.layer.0.SelfAttention.q.weight"):
        encoder(folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ConfigError, match=r"has no model.safetensors"):
        find_encoder(folder)
    (folder / "model.safetensors").symlink_to(t5 / "model.safetensors")
    with pytest.raises(ConfigError, match="leaves its folder"):
        find_encoder(folder)
