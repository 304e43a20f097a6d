"""What is asked for in drawing: the seed of each picture, and what cannot be had."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from t2i_core.canonical import canonical_json
from t2i_core.composition.config import BASE, parts_of
from t2i_core.errors import ConfigError
from t2i_core.generation.config import DrawConfig
from t2i_core.layout import require_local
from t2i_core.training.finished import read_run_config


def image_seed(seed: int, prompt: str, index: int) -> int:
    """Derive the seed of one picture: 63 bits of a hash of (seed, prompt, index)."""
    digest = hashlib.sha256(canonical_json([seed, prompt, index]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def require_new(output_dir: Path) -> None:
    """Refuse a folder for pictures that holds something already.

    Raises:
        ConfigError: it does, or is none of this machine.
    """
    require_local(output_dir)
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise ConfigError(f"{output_dir} is not an empty folder; choose another --output-dir.")


def refuse_ignored(folder: Path, config: DrawConfig) -> None:
    """Refuse settings of drawing that a run, or a stage of a system, would ignore.

    Args:
        folder: a finished run or system.
        config: what was asked for.

    Raises:
        ConfigError: one was asked for, and would change nothing; or the folder is neither.
    """
    if not config.asked and not config.others:
        return
    parts = parts_of(folder)
    for role in (BASE, *config.others):
        if role not in parts:
            raise ConfigError(
                f"{folder} has no {role}, so that --set {role}.STEPS or the like would change nothing: leave it out."
            )
        _refuse_ignored(parts[role], config.of(role).asked)


def _refuse_ignored(run_dir: Path, asked: Mapping[str, float | str]) -> None:
    if not asked:
        return
    system = read_run_config(run_dir)[0].system
    ignored = [name for name in asked if name not in system.draw_settings]
    if ignored:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in ignored)
        raise ConfigError(
            f"{run_dir} is a {system.kind} run, which draws without {flags}: "
            f"{'they' if len(ignored) > 1 else 'it'} would change nothing. Leave out what it does not take."
        )
    if "negative_prompt" in asked and asked.get("guidance_scale", getattr(system, "guidance_scale", 1)) == 1:
        raise ConfigError(
            "--negative-prompt changes nothing without guidance: set --guidance-scale above 1, such as 3."
        )


def refuse_unknown_words(unknown_words: Callable[[str], list[str]], prompts: Sequence[str]) -> None:
    """Refuse prompts with words that the run never learned.

    Args:
        unknown_words: of a prompt.
        prompts: to be drawn.

    Raises:
        ConfigError: there are some.
    """
    unknown = sorted({word for prompt in prompts for word in unknown_words(prompt)})
    if unknown:
        raise ConfigError(
            f"this run never learned: {', '.join(unknown[:20])}. Use words of its captions; they are listed in its "
            "tokenizer.json."
        )
