"""What is asked for in drawing: the seed of each picture, and what cannot be had."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from t2i_core.canonical import canonical_json
from t2i_core.composition.config import BASE, FILLED_BY, Role, parts_of
from t2i_core.composition.fit import require_weaker
from t2i_core.errors import ConfigError
from t2i_core.folders.layout import require_local
from t2i_core.generation.config import OF_GUIDANCE, DrawConfig
from t2i_core.systems.config import DiffusionConfig
from t2i_core.training.finished import read_run_config

CLIP: Role = "clip"
FILLING = {filling: role for role, filling in FILLED_BY.items()}


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
        asked = config.of(role).asked
        if asked and role in FILLING:
            raise ConfigError(f"the {role} draws with the settings of the {FILLING[role]}: leave out those of its own.")
        _refuse_ignored(parts[role], asked)
    require_leaders(folder, config)


def require_leaders(folder: Path, config: DrawConfig) -> None:
    """Refuse to lead a run or system by what it does not have, or what does not fit it.

    Args:
        folder: a finished run or system; one that draws in one step is led by nothing.
        config: what was asked for.

    Raises:
        ConfigError: guidance by a CLIP that is not there or sees other pictures, or away from a run that does not fit.
    """
    parts = parts_of(folder)
    for role in (BASE, *config.others):
        asked = config.of(role)
        led = role in parts and (asked.clip_guidance_scale or asked.autoguide)
        if not led or not _draws_from_noise(parts[role]):
            continue
        if asked.clip_guidance_scale and (role != BASE or CLIP not in parts):
            told = "it sees pictures of the base" if CLIP in parts else "name a system with one (`t2i compose`)"
            raise ConfigError(f"there is no CLIP to be guided by for the {role} of {folder}: {told}.")
        if asked.autoguide:
            require_weaker(parts[role], Path(asked.autoguide))


def _draws_from_noise(run_dir: Path) -> bool:
    return isinstance(read_run_config(run_dir)[0].system, DiffusionConfig)


def _refuse_ignored(run_dir: Path, asked: Mapping[str, float | str]) -> None:
    if not asked:
        return
    system = read_run_config(run_dir)[0].system
    if ignored := [name for name in asked if name not in system.draw_settings]:
        raise ConfigError(
            f"{run_dir} is a {system.kind} run, which draws without {_flags(ignored)}: "
            f"{'they' if len(ignored) > 1 else 'it'} would change nothing. Leave out what it does not take."
        )
    if not isinstance(system, DiffusionConfig):
        return
    idle = [name for name in OF_GUIDANCE if name in asked]
    if idle and asked.get("guidance_scale", system.guidance_scale) == 1:
        raise ConfigError(f"{_flags(idle)} changes nothing without guidance: set --guidance-scale above 1, such as 3.")
    if "autoguide" in asked and "negative_prompt" in asked:
        raise ConfigError("guidance leads away from one thing: leave out --autoguide or --negative-prompt.")
    _refuse_level(run_dir, system, asked.get("low_level"))
    if "eta" in asked and (sampler := asked.get("sampler", system.sampler)) != "ddim":
        raise ConfigError(f"--eta is of the sampler ddim, and {sampler} has none: add --sampler ddim, or leave it out.")


def _refuse_level(run_dir: Path, system: DiffusionConfig, level: float | str | None) -> None:
    """Refuse noise on small pictures for who enlarges none, or never saw so much."""
    if level is None:
        return
    if not system.low_side:
        raise ConfigError(f"{run_dir} enlarges no pictures: leave out --low-level, or --set it for the upsampler.")
    if float(level) > system.low_noise:
        raise ConfigError(
            f"{run_dir} was trained with noise of {system.low_noise:g} at most on small pictures (low_noise): "
            f"--low-level {level} is more than it knows."
        )


def _flags(names: Sequence[str]) -> str:
    return " and ".join(f"--{name.replace('_', '-')}" for name in names)


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
