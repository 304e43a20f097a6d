"""An encoder by its folder: which kind it is, and by what it is known again; only opening it needs PyTorch."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from t2i_core.canonical import digest_of
from t2i_core.encoders import clip_folder, hf_folder
from t2i_core.encoders.config import FeaturesConfig
from t2i_core.errors import ConfigError
from t2i_core.folders.manifest import MANIFEST_NAME, read_manifest, sha256_of

if TYPE_CHECKING:
    from t2i_core.encoders.encoder import FrozenEncoder

CLIP_DIR = "open_clip"


@dataclass(frozen=True, slots=True)
class EncoderFolder:
    """Where an encoder lies.

    Attributes:
        files: the folder of its config and weights.
        kind: how they are laid out.
        digest: of all that decides what it gives: of the run's manifest, or of the files and of its tokenizer.
    """

    files: Path
    kind: Literal["clip", "hf"]
    digest: str

    def open(self, config: FeaturesConfig) -> "FrozenEncoder":
        """Load the encoder, on a graphics card where there is one.

        Raises:
            ConfigError: it is not understood, or cannot give what is wanted.
        """
        import torch

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.kind == "clip":
            from t2i_core.encoders.clip import ClipTextEncoder

            return ClipTextEncoder(self.files, config, device)
        from t2i_core.encoders.hf import HFEncoder

        return HFEncoder(self.files, config, device)


def find_encoder(folder: Path) -> EncoderFolder:
    """Look at a folder that is said to hold an encoder: a clip run, an open_clip folder or one of Hugging Face.

    Raises:
        ConfigError: it is none of these, or the run's files have changed.
        DataError: the run's folder holds what no step leaves there.
    """
    if not folder.is_dir():
        raise ConfigError(f"no such folder: {folder}")
    if (folder / MANIFEST_NAME).exists():
        return EncoderFolder(folder / CLIP_DIR, "clip", _digest_of_run(folder))
    if (folder / clip_folder.CONFIG_NAME).is_file():
        return EncoderFolder(
            folder, "clip", _digest_of_files([*clip_folder.find_files(folder), clip_folder.tokenizer_file()])
        )
    if (folder / hf_folder.CONFIG_NAME).is_file():
        return EncoderFolder(folder, "hf", _digest_of_files(hf_folder.find_files(folder)))
    raise ConfigError(
        f"{folder} is no text encoder: it is neither a finished clip run, nor has it an open_clip_config.json or a "
        "config.json of transformers."
    )


def _digest_of_run(run_dir: Path) -> str:
    manifest = read_manifest(run_dir, "run")
    exported = [file for file in manifest.files if file.path.startswith(f"{CLIP_DIR}/")]
    if not exported:
        raise ConfigError(f"{run_dir} is not a clip run: it has no {CLIP_DIR} folder. Train one with a clip preset.")
    for file in exported:
        path = run_dir / file.path
        if not path.is_file() or sha256_of(path) != file.sha256:
            raise ConfigError(f"{path} has changed since the run was finished. Train it again.")
    return manifest.digest


def _digest_of_files(paths: Iterable[Path]) -> str:
    return digest_of({path.name: sha256_of(path.resolve()) for path in paths})
