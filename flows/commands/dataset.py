"""`t2i dataset log` and `t2i dataset diff`: the versions of a dataset, and how they differ."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.commands.step import command_app
from flows.shell.help import PlainCommand, examples
from flows.shell.terminal import say, say_json
from t2i_core.data.shards.versions import Version, current_number, held_versions, named_version, read_log
from t2i_core.errors import ConfigError
from t2i_core.folders.manifest import read_manifest
from t2i_core.progress import plain

if TYPE_CHECKING:
    from t2i_core.data.dataset.difference import Change, Difference

DIGEST_SHOWN, CHANGES_SHOWN = 12, 20
KINDS = ("added", "removed", "changed", "restated")

app = command_app()


@app.command(
    "dataset",
    cls=PlainCommand,
    epilog=examples(
        "t2i dataset log work/dataset",
        "t2i dataset diff work/dataset 1 3",
        "t2i caption work/dataset@1 --output-dir work/captions",
        notes=[
            "`t2i ingest ... --refresh` makes a new version; FOLDER@2 names the second wherever a dataset is meant."
        ],
    ),
)
def dataset_command(
    action: Annotated[Literal["log", "diff"], typer.Argument(help="List the versions, or compare two of them.")],
    dataset_dir: Annotated[Path, typer.Argument(help="A finished dataset folder.")],
    versions: Annotated[
        list[int] | None,
        typer.Argument(metavar="[A] [B]", help="Numbers of the versions to compare. [default: the last two held]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """List the versions of a dataset, or tell how two of them differ."""
    read_manifest(dataset_dir, "dataset")
    if action == "log":
        if versions:
            raise ConfigError("log lists all versions: leave out their numbers.")
        return _log(dataset_dir, as_json=as_json)
    return _diff(dataset_dir, versions or [], as_json=as_json)


def _log(dataset_dir: Path, *, as_json: bool) -> None:
    held = held_versions(dataset_dir)
    versions = read_log(dataset_dir) or [_only(dataset_dir)]
    if as_json:
        return say_json([version.model_dump(mode="json") | {"held": version.number in held} for version in versions])
    for version in reversed(versions):
        say(_line(version, is_held=version.number in held))
    return None


def _only(dataset_dir: Path) -> Version:
    """Describe a dataset that was never refreshed."""
    manifest = read_manifest(dataset_dir, "dataset")
    kept = manifest.counts.get("kept", 0)
    return Version(number=1, digest=manifest.digest, kept=kept, added=kept)


def _line(version: Version, *, is_held: bool) -> str:
    when = datetime.fromtimestamp(version.made_at, UTC).strftime(" %Y-%m-%d %H:%M UTC") if version.made_at else ""
    gone = "" if is_held else "; not held any more"
    return f"@{version.number} {version.digest[:DIGEST_SHOWN]}{when}: {version.kept:,} kept; {version.story}{gone}"


def _diff(dataset_dir: Path, numbers: list[int], *, as_json: bool) -> None:
    from t2i_core.data.dataset.difference import difference

    one, other = _pair(dataset_dir, numbers)
    found = difference(*(named_version(Path(f"{dataset_dir}@{number}")) for number in (one, other)))
    if as_json:
        return say_json({"from": one, "to": other, **found.model_dump(mode="json")})
    counts = ", ".join(f"{len(getattr(found, kind)):,} {kind}" for kind in KINDS)
    say(f"{dataset_dir}@{one} to @{other}: {counts}")
    for kind in KINDS:
        _say_changes(kind, found)
    return None


def _pair(dataset_dir: Path, numbers: list[int]) -> tuple[int, int]:
    held = [*held_versions(dataset_dir)]
    if len(numbers) == 1:
        return numbers[0], current_number(dataset_dir)
    if not numbers and len(held) > 1:
        return held[-2], held[-1]
    if len(numbers) != 2:
        told = "there is but one" if not numbers else "give two numbers"
        raise ConfigError(f"diff compares two versions of {dataset_dir}, and {told}.")
    return numbers[0], numbers[1]


def _say_changes(kind: str, found: "Difference") -> None:
    changes: tuple[Change, ...] = getattr(found, kind)
    for change in changes[:CHANGES_SHOWN]:
        keys = " to ".join(filter(None, (change.key, change.other_key)))
        why = f" ({change.reason})" if change.reason else ""
        say(f"{kind} {keys}: {plain(change.url)}{why}")
    if len(changes) > CHANGES_SHOWN:
        say(f"{kind}: {len(changes) - CHANGES_SHOWN:,} more (--json names all)")
