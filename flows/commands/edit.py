"""`t2i edit`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.step import RunDir, command_app, local_folder, progress
from flows.shell.help import PlainCommand, examples
from flows.shell.options import config_options
from flows.shell.terminal import say
from t2i_core.generation.config import DRAW_GROUPS
from t2i_core.generation.edits.config import EditConfig, EditKind, EditRequest
from t2i_core.promotion.registry import model_folder

app = command_app()


@app.command(
    "edit",
    cls=PlainCommand,
    epilog=examples(
        't2i edit w/run inpaint --picture a.png --box 0,0,32,32 --prompt "a red star" --output-dir w/a',
        't2i edit w/run image-to-image --picture a.png --strength 0.5 --prompt "a cat" --output-dir w/b',
        't2i edit w/run outpaint --picture a.png --margins 16,0,16,0 --prompt "a cat" --output-dir w/c',
        "t2i edit w/system upscale --picture small.png --output-dir w/d",
    ),
)
@config_options(EditConfig, DRAW_GROUPS)
def edit_command(
    run_dir: RunDir,
    kind: Annotated[EditKind, typer.Argument(help="What to do with the picture.")],
    picture: Annotated[Path, typer.Option(help="PNG, JPEG or WebP file.")],
    output_dir: Annotated[Path, typer.Option(callback=local_folder, help="Folder for 00000.png ... and images.jsonl.")],
    config: EditConfig,
    prompt: Annotated[
        list[str] | None,
        typer.Option(metavar="<text>", help="What the result is to show; of iterative, one for each mask or box."),
    ] = None,
) -> None:
    """Change a picture with a finished run: pixels that are not to change keep their bytes."""
    request = EditRequest.parse(
        {
            "run_dir": model_folder(run_dir),
            "kind": kind,
            "picture": picture,
            "prompts": prompt or (),
            "output_dir": output_dir,
            "config": config,
        }
    )
    from t2i_core.generation.edits.edit import edit

    with progress() as view:
        images = edit(request, on_progress=view)
    say(f"{len(images)} pictures in {output_dir}")
    for name, value in images[0].figures.items():
        say(f"{name}: {value:.1f} dB")
