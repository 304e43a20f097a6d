"""Features on disk: what is written comes back, is mapped and not read, and a damaged file is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from t2i_core.data.bounded.side_table import key_digest
from t2i_core.encoders.encoder import Features
from t2i_core.encoding.store import Shard, StoredFeatures, shard_path, write_shard
from t2i_core.errors import DataError

LENGTHS = (3, 1, 5, 2)


def captions_in_order(number: int) -> list[str]:
    return sorted((f"caption {i}" for i in range(number)), key=key_digest)


def write(folder: Path, captions: list[str], number: int = 0, width: int = 4) -> Features:
    lengths = torch.tensor([LENGTHS[i % 4] for i in range(len(captions))])
    mask = torch.arange(5) < lengths[:, None]
    tokens = torch.randn(len(captions), 5, width, generator=torch.Generator().manual_seed(number))
    made = Features(
        tokens=(tokens * mask[..., None]).half(), mask=mask, pooled=torch.arange(len(captions)).half()[:, None]
    )
    write_shard(shard_path(folder, number), list(map(key_digest, captions)), made)
    return made


def test_captions_come_back_from_whichever_file_they_are_in(tmp_path: Path) -> None:
    captions = captions_in_order(60)
    made = [write(tmp_path, captions[20 * i : 20 * i + 20], i) for i in range(3)]
    stored = StoredFeatures(tmp_path, 3)
    wanted = [59, 0, 19, 20, 40, 42, 7, 59]

    numbers = stored.find([captions[i] for i in wanted])

    assert numbers.tolist() == wanted
    tokens, mask = stored.tokens(numbers)
    assert tokens.equal(torch.cat([part.tokens for part in made])[wanted])
    assert mask.equal(torch.cat([part.mask for part in made])[wanted])
    assert stored.pooled(numbers)[:, 0].tolist() == [i % 20 for i in wanted]
    # No longer than the longest of them.
    assert stored.tokens(stored.find([captions[1], captions[3]]))[0].shape == (2, 2, 4)


def test_files_are_mapped_and_not_read(tmp_path: Path) -> None:
    captions = captions_in_order(2000)
    write(tmp_path, captions, width=4096)
    size = shard_path(tmp_path, 0).stat().st_size

    def resident() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * 4096

    before = resident()
    stored = StoredFeatures(tmp_path, 1)
    stored.tokens(stored.find(captions[:8]))

    assert size > 40e6
    assert resident() - before < size / 4


@pytest.mark.parametrize("change", ["ends", "tokens", "pooled", "captions", "extra", "half"])
def test_a_damaged_file_is_refused(tmp_path: Path, change: str) -> None:
    write(tmp_path, captions_in_order(8))
    path = shard_path(tmp_path, 0)
    tensors = load_file(path)
    wrong = {
        "ends": {"ends": tensors["ends"].flip(0).clone()},
        "tokens": {"tokens": tensors["tokens"][:-1].clone()},
        "pooled": {"pooled": tensors["pooled"].float()},
        "captions": {"captions": tensors["captions"][:, :8].clone()},
        "extra": {"more": torch.zeros(1)},
        "half": {},
    }[change]
    data = path.read_bytes()
    save_file({name: tensor.clone() for name, tensor in (tensors | wrong).items()}, path)
    if change == "half":
        path.write_bytes(data[: len(data) // 2])

    with pytest.raises(DataError, match=r"00000.safetensors is damaged .*run the features step again"):
        Shard.open(path)
