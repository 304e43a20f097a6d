"""`t2i presets`."""

from collections.abc import Sequence
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from flows.commands.step import command_app
from flows.config import PipelineConfig
from flows.config import preset_names as pipeline_names
from flows.shell.help import PlainCommand, examples
from flows.shell.terminal import say_json
from t2i_core.captioning.config import PRESETS as CAPTION_PRESETS
from t2i_core.captioning.config import CaptionConfig
from t2i_core.config import Config
from t2i_core.errors import ConfigError
from t2i_core.recipe import recipe_names
from t2i_core.training.preset import Preset, load_preset, preset_names

app = command_app()


@app.command(
    "presets",
    cls=PlainCommand,
    epilog=examples(
        "t2i presets list",
        "t2i presets show diffusion-demo",
        "t2i presets show diffusion-demo --set optim.learning_rate=1e-3",
        notes=("What `show` prints can be saved, changed and given back: t2i train ... --preset FILE.",),
    ),
)
def presets_command(
    action: Annotated[Literal["list", "show"], typer.Argument(help="list: all by name; show: one, whole.")],
    preset: Annotated[str, typer.Argument(help="For show: a name, or a JSON file with a training recipe.")] = "",
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="<str>", help="Field of a training recipe to change.")
    ] = None,
) -> None:
    """List the recipes that trainings, captions and pipelines start from, or show one, merged and checked, as JSON."""
    if (action == "show") != bool(preset):
        raise ConfigError("write `t2i presets list`, or `t2i presets show` and the name of one.")
    if action == "list":
        Console().print(presets_table())
    else:
        say_json(chosen(preset, changes or ()).model_dump(mode="json"))


def presets_table() -> Table:
    """Lay out the presets: what is trained, until when, and what it is for."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("Preset", "trains", "until", "what"):
        table.add_column(title, no_wrap=title != "what")
    family = ""
    for name in preset_names():
        preset, before = load_preset(name), family
        family = name.partition("-")[0]
        if before and family != before:
            table.add_row()
        table.add_row(name, preset.system.kind, budget(preset), preset.description)
    table.add_row()
    for name in recipe_names(CAPTION_PRESETS):
        table.add_row(name, "captions", "", "Rules for the captions of that collection.")
    table.add_row()
    for name in pipeline_names():
        minutes = PipelineConfig.preset(name).minutes
        table.add_row(name, "pipeline", f"{minutes:g} min" if minutes else "as its trainings", "The whole job.")
    return table


def budget(preset: Preset) -> str:
    """Say when a training ends."""
    limits = [
        (preset.max_minutes, f"{preset.max_minutes:g} min"),
        (preset.max_images, f"{preset.max_images:,} pictures"),
    ]
    return " or ".join(text for limit, text in limits if limit)


def chosen(wanted: str, changes: Sequence[str]) -> Config:
    """Load what is to be shown.

    Raises:
        ConfigError: there is none, it does not fit, or it takes no changes.
    """
    others = dict.fromkeys(pipeline_names(), PipelineConfig) | dict.fromkeys(
        recipe_names(CAPTION_PRESETS), CaptionConfig
    )
    if wanted not in others:
        return load_preset(wanted, changes)
    if changes:
        raise ConfigError(f"--set changes training recipes, and {wanted} is another: change the file you make of it.")
    return others[wanted].preset(wanted)
