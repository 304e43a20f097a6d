"""`t2i features`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.step import NoPrefect, OutputDir, Replace, VerifyHits, command_app, conflict, run_step
from flows.shell.help import PlainCommand, examples
from flows.shell.options import config_options
from t2i_core.encoders.config import FeaturesConfig
from t2i_core.encoding.config import FeaturesRequest

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

app = command_app()

Encoder = Annotated[
    Path, typer.Option(help="A finished clip run, an open_clip folder, or a T5 or BERT in the layout of Hugging Face.")
]


@app.command(
    "features",
    cls=PlainCommand,
    epilog=examples(
        "t2i features work/captions --encoder work/clip --output-dir work/features",
        "t2i features work/captions --encoder models/t5-base --output-dir work/t5",
    ),
)
@config_options(FeaturesConfig)
def features_command(
    captions_dir: Annotated[Path, typer.Argument(help="A finished captions folder.")],
    encoder: Encoder,
    output_dir: OutputDir,
    config: FeaturesConfig,
    no_prefect: NoPrefect = False,
    replace: Replace = False,
    verify_hits: VerifyHits = "size",
) -> None:
    """Encode captions with a frozen encoder, for recipes that read features beside pictures."""

    request = FeaturesRequest(
        captions_dir=captions_dir,
        encoder_dir=encoder,
        config=config,
        output_dir=output_dir,
        on_conflict=conflict(replace=replace),
    )

    def as_flow() -> "State[Any]":
        from flows.features import features

        return features(captions_dir, encoder, output_dir, config, request.on_conflict, return_state=True)

    run_step(lambda steps: steps.features(request), as_flow, no_prefect=no_prefect, verify_hits=verify_hits)
