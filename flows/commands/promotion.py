"""The commands for which run or system is in use: promote, rollback."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.commands.step import command_app
from flows.shell.help import PlainCommand, examples
from flows.shell.options import config_options
from flows.shell.terminal import say, say_json
from t2i_core.errors import ConfigError
from t2i_core.promotion.config import PromotionRule
from t2i_core.promotion.registry import DEFAULT_REGISTRY, REGISTRY_VARIABLE, current, default_registry, promotions

if TYPE_CHECKING:
    from t2i_core.promotion.registry import Evidence, Promotion

DIGEST_SHOWN = 12

app = command_app()

Registry = Annotated[
    Path | None,
    typer.Option(
        help=f"Folder that the records are in. [default: that of {REGISTRY_VARIABLE}, or else {DEFAULT_REGISTRY}]"
    ),
]
Why = Annotated[str, typer.Option(metavar="<text>", help="The reason, for the history.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]
RULE = {"With --comparison": tuple(PromotionRule.model_fields)}


@app.command(
    "promote",
    cls=PlainCommand,
    epilog=examples(
        "t2i promote work/run",
        't2i promote work/system --why "draws hands"',
        "t2i promote work/run --comparison work/comparison --margin 0.02",
        "t2i promote",
        notes=(
            "Without a run it lists who is in use, and each change. `champion`, and FOLDER/champion of another "
            "registry, can be given to generate, edit, evaluate, lineage and verify.",
        ),
    ),
)
@config_options(PromotionRule, RULE)
def promote_command(
    config: PromotionRule,
    run_dir: Annotated[Path | None, typer.Argument(help="A finished run or system folder.")] = None,
    registry: Registry = None,
    why: Why = "",
    comparison: Annotated[
        Path | None,
        typer.Option(
            help="A finished comparison of it with the champion: it is promoted only if the interval says so, and "
            "otherwise the command ends with code 1."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a finished run or system the champion, or list who is in use."""
    place = registry or default_registry()
    if run_dir is None:
        return _tell(place, as_json)
    evidence = _evidence(run_dir, place, comparison, config) if comparison else None
    if evidence:
        from t2i_core.promotion.rule import decide

        decision = decide(evidence, config)
        why = "; ".join(filter(None, (decision.why, why)))
        if decision.outcome != "promote":
            say(f"left: {decision.why}.")
            raise typer.Exit(1)
    from t2i_core.promotion.step import promote

    before = current(place)
    who: Literal["rule", "person"] = "rule" if evidence else "person"
    made = promote(run_dir, place, why=why or "promoted by hand", who=who, evidence=evidence)
    already = "already " if before and made.number == before.number else ""
    say(f"{run_dir} is {already}the champion of {place}")
    return None


def _evidence(run_dir: Path, registry: Path, comparison: Path, rule: PromotionRule) -> "Evidence | None":
    """Read what a comparison says of a run and the champion; None while there is no champion."""
    from t2i_core.folders.manifest import read_manifest
    from t2i_core.promotion.paired import evidence_in

    holding = current(registry)
    if holding is None:
        return None
    digest = read_manifest(run_dir, "run", "system").digest
    return evidence_in(comparison, digest, holding.champion.digest, rule.figure)


@app.command(
    "rollback", cls=PlainCommand, epilog=examples("t2i rollback", "t2i rollback --registry work/nightly --why blurred")
)
def rollback_command(registry: Registry = None, why: Why = "rolled back by hand") -> None:
    """Make the previous champion the champion again; the two change places."""
    from t2i_core.promotion.step import rollback

    place = registry or default_registry()
    made = rollback(place, why=why)
    say(f"{place / made.champion.path} is the champion of {place} again")


def _tell(registry: Path, as_json: bool) -> None:
    known = promotions(registry)
    if as_json:
        return say_json([promotion.model_dump(mode="json") for promotion in known])
    if not known:
        raise ConfigError(f"there is no champion in {registry} yet: `t2i promote RUN` makes one.")
    for promotion in known:
        say(f"{promotion.at} {promotion.action} by {_who(promotion)}: {_entry(promotion)}: {promotion.why}")
    return None


def _who(promotion: "Promotion") -> str:
    return "the rule" if promotion.who == "rule" else "a person"


def _entry(promotion: "Promotion") -> str:
    return f"{promotion.champion.digest:.{DIGEST_SHOWN}} {promotion.champion.path}"
