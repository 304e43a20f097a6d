"""CLIP scores: a real open_clip folder made on the spot, and formulas on vectors whose cosines are known."""

import json

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError
from PIL import Image
from safetensors.torch import save_file

from t2i_core.errors import ConfigError
from t2i_core.evaluation.judges.clip_score import cosine_x100, hessel, load_clip, r_precision, with_prefix

MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
PREPROCESS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "resize_mode": "squash"}


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip") / "open_clip"
    folder.mkdir()
    config = {"model_cfg": MODEL, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**MODEL).state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def scorer(clip_folder):
    return load_clip(str(clip_folder), device="cpu")


def test_a_local_folder_scores_like_the_model_itself(clip_folder, scorer):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    texts = ["a red circle", "two blue squares", "nothing"]
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{clip_folder}")
    with torch.inference_mode():
        tokens = open_clip.get_tokenizer(f"local-dir:{clip_folder}")(texts)
        batch = torch.stack([preprocess(Image.fromarray(image)) for image in images])
        expected = model.encode_image(batch, normalize=True) @ model.encode_text(tokens, normalize=True).T
    cosines = scorer.embed_images(images) @ scorer.embed_texts(texts).T
    np.testing.assert_allclose(cosines, expected.numpy(), atol=1e-5)


def test_the_identity_names_weights_and_preprocessing_but_no_path_of_this_machine(clip_folder, scorer):
    identity = scorer.identity
    assert identity.spec == f"{clip_folder.parent.name}/open_clip"
    assert (identity.image_size, identity.context_length, identity.quick_gelu) == (32, 16, False)
    assert "Normalize" in identity.preprocessing
    assert identity.weights_sha256 == load_clip(f"local-dir:{clip_folder}", device="cpu").identity.weights_sha256
    assert len(identity.weights_sha256) == 64


def test_texts_that_are_too_long_are_counted(clip_folder):
    scorer = load_clip(str(clip_folder), device="cpu")
    scorer.embed_texts(["short", "a " * 13, "a " * 14, "a " * 15, "a " * 200])
    assert scorer.num_truncated == 2


def test_random_weights_are_refused(clip_folder, tmp_path):
    (tmp_path / "open_clip_config.json").write_text((clip_folder / "open_clip_config.json").read_text())
    with pytest.raises(ConfigError, match="no weights"):
        load_clip(str(tmp_path))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ViT-B-32", "neither a folder nor"),
        ("ViT-B-23/openai", "no model 'ViT-B-23'.*ViT-B-32"),
        ("ViT-B-32/openia", "no weights 'openia'.*openai"),
        ("local-dir:/nowhere", "no open_clip folder"),
    ],
)
def test_a_wrong_spec_is_refused_with_what_is_near(spec, message):
    with pytest.raises(ConfigError, match=message):
        load_clip(spec)


def test_weights_of_another_model_are_refused_in_one_line(clip_folder, tmp_path):
    other = {"model_cfg": MODEL | {"embed_dim": 8}, "preprocess_cfg": PREPROCESS}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(other))
    (tmp_path / "open_clip_model.safetensors").write_bytes((clip_folder / "open_clip_model.safetensors").read_bytes())
    with pytest.raises(ConfigError) as caught:
        load_clip(str(tmp_path))
    assert "\n" not in str(caught.value)


def folder_with(tmp_path, model, clip_folder=None, preprocess=PREPROCESS):
    config = {"model_cfg": model, "preprocess_cfg": preprocess}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    weights = (clip_folder / "open_clip_model.safetensors").read_bytes() if clip_folder else b""
    (tmp_path / "open_clip_model.safetensors").write_bytes(weights)
    return tmp_path


def nested(where, key, value):
    return MODEL | {where: MODEL[where] | {key: value}}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nested("text_cfg", "tokenizer_kwargs", {"trust_remote_code": True}), "trust_remote_code"),
        (nested("text_cfg", "hf_tokenizer_name", "evil/repository"), "hf_tokenizer_name"),
        (nested("text_cfg", "hf_model_name", "evil/repository"), "hf_model_name"),
        (nested("vision_cfg", "timm_model_name", "hf-hub:evil/repository"), "timm_model_name"),
        (nested("vision_cfg", "act_kwargs", {"cls": "os.system"}), "act_kwargs.cls"),
        (MODEL | {"multimodal_cfg": {}}, "multimodal_cfg"),
        (nested("text_cfg", "vocab_size", 10**9), "text_cfg.vocab_size"),
        (nested("vision_cfg", "layers", 10**6), "vision_cfg.layers"),
        (nested("vision_cfg", "image_size", [2048, 2048]), "patches a picture"),
        (nested("text_cfg", "width", 8192), "its config describes at least"),
        (nested("text_cfg", "width", "512; rm"), "text_cfg.width"),
    ],
)
def test_a_config_from_elsewhere_says_only_what_is_known(model, message, clip_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(open_clip, "create_model_from_pretrained", None)
    monkeypatch.setattr(open_clip, "get_tokenizer", None)
    with pytest.raises(ConfigError, match=message):
        load_clip(str(folder_with(tmp_path, model, clip_folder)))


def test_only_safetensors_of_the_folder_itself_are_weights(clip_folder, tmp_path):
    weights = folder_with(tmp_path, MODEL) / "open_clip_model.safetensors"
    weights.unlink()
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(ConfigError, match="no weights"):
        load_clip(str(tmp_path))
    weights.symlink_to(clip_folder / "open_clip_model.safetensors")
    with pytest.raises(ConfigError, match="leaves its folder"):
        load_clip(f"local-dir:{tmp_path}")


def test_a_repository_of_the_hub_is_read_like_a_folder(clip_folder, tmp_path, monkeypatch):
    fetched = []

    def from_folder(repository, name):
        if not (clip_folder / name).is_file():
            raise EntryNotFoundError(name)
        fetched.append((repository, name))
        return str(clip_folder / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", from_folder)
    scorer = load_clip("hf-hub:an/organisation", device="cpu")
    assert scorer.identity.spec == "hf-hub:an/organisation"
    assert [name for _, name in fetched] == ["open_clip_config.json", "open_clip_model.safetensors"]
    clip_folder = folder_with(tmp_path, nested("text_cfg", "hf_tokenizer_name", "evil/repository"), clip_folder)
    fetched.clear()
    with pytest.raises(ConfigError, match="hf_tokenizer_name"):
        load_clip("hf-hub:an/organisation", device="cpu")
    assert [name for _, name in fetched] == ["open_clip_config.json"], (
        "no weights before the config is known to be good"
    )


def test_what_the_config_says_reaches_the_model(clip_folder, tmp_path):
    model = nested("text_cfg", "tokenizer_kwargs", {"clean": "lower"}) | {"quick_gelu": True}
    scorer = load_clip(str(folder_with(tmp_path, model, clip_folder, PREPROCESS | {"size": 32})), device="cpu")
    assert scorer.identity.quick_gelu
    np.testing.assert_array_equal(scorer._tokenizer(["A  b"]), scorer._tokenizer(["a  b"]))


def test_scales_clamp_each_picture():
    cosines = np.array([0.3, -0.2])
    np.testing.assert_allclose(cosine_x100(cosines), [30, 0])
    np.testing.assert_allclose(hessel(cosines), [0.75, 0])
    assert with_prefix("a red circle") == "A photo depicts a red circle"


def test_r_precision_is_one_for_a_perfect_match_and_chance_for_noise():
    texts = np.eye(200)
    hits, chance = r_precision(texts[:50], list(range(50)), texts, num_candidates=100, seed=0)
    assert hits.all() and chance == 0.01
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(400, 200))
    hits, _ = r_precision(vectors, [i % 200 for i in range(400)], texts, num_candidates=10, seed=0)
    assert 0.05 < hits.mean() < 0.16


def test_r_precision_counts_ties_against_and_states_the_chance_of_few_candidates():
    same = np.ones((5, 4)) / 2
    hits, chance = r_precision(same, [0, 1, 2, 3, 4], same, num_candidates=100, seed=0)
    assert not hits.any() and chance == 0.2
