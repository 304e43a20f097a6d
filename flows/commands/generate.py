"""`t2i generate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.step import RunDir, command_app, local_folder, progress
from flows.shell.help import PlainCommand, examples
from flows.shell.options import config_options
from flows.shell.terminal import say
from t2i_core.errors import ConfigError
from t2i_core.generation.config import DRAW_GROUPS, GenerateConfig
from t2i_core.promotion.registry import model_folder

MAX_PROMPTS_BYTES = 10_000_000

app = command_app()


@app.command(
    "generate",
    cls=PlainCommand,
    epilog=examples(
        't2i generate work/run --prompt "a red circle" --output-dir work/pictures',
        "t2i generate work/run --prompts-file prompts.txt --output-dir work/drawn",
        't2i generate work/run --prompt "a cat" --num-images 8 --grid --output-dir w',
        't2i generate system --prompt "a cat" --set upsampler.steps=8 --output-dir w',
        't2i generate champion --prompt "a red circle" --output-dir work/pictures',
    ),
)
@config_options(GenerateConfig, DRAW_GROUPS)
def generate_command(
    run_dir: RunDir,
    output_dir: Annotated[Path, typer.Option(callback=local_folder, help="Folder for 00000.png ... and images.jsonl.")],
    config: GenerateConfig,
    prompt: Annotated[
        list[str] | None, typer.Option(metavar="<text>", help="What to draw; may be given more than once.")
    ] = None,
    prompts_file: Annotated[Path | None, typer.Option(help="Text file with one prompt a line.")] = None,
) -> None:
    """Draw prompts with a finished run or system; the same seed gives the same pictures."""
    prompts = read_prompts(prompt or [], prompts_file)
    # Not before it is known what to draw: PyTorch takes seconds to load.
    from t2i_core.generation.generate import generate

    with progress() as view:
        images = generate(model_folder(run_dir), prompts, output_dir, config, on_progress=view)
    say(f"{len(images)} pictures in {output_dir}")


def read_prompts(given: Sequence[str], path: Path | None) -> list[str]:
    """Collect the prompts to draw.

    Raises:
        ConfigError: there are none, or the file is missing, unreadable or too long.
    """
    if bool(given) == (path is not None):
        raise ConfigError("give --prompt TEXT or --prompts-file FILE.")
    if path is None:
        return list(given)
    try:
        if path.stat().st_size > MAX_PROMPTS_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_PROMPTS_BYTES:,} bytes; split it.")
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"cannot read prompts from {path}: {err}") from err
    prompts = [line for line in lines if line]
    if not prompts:
        raise ConfigError(f"{path} holds no prompts; write one a line.")
    return prompts
