"""The commands for what happens to a folder after it was made: verify, purge, lineage."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.step import command_app, progress
from flows.shell.help import PlainCommand, examples
from flows.shell.terminal import say, say_json
from t2i_core.errors import ConfigError
from t2i_core.folders.manifest import read_manifest
from t2i_core.promotion.registry import model_folder, names_below

if TYPE_CHECKING:
    from t2i_core.data.dataset.purge import PurgeResult
    from t2i_core.data.dataset.verify import ShardDamage
    from t2i_core.lineage.ancestors import Ancestor
    from t2i_core.lineage.holders import Holder
from t2i_core.data.shards.versions import named_version
from t2i_core.progress import plain

KEYS_SHOWN = 20
DIGEST_SHOWN = 12

app = command_app()

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


@app.command(
    "verify",
    cls=PlainCommand,
    epilog=examples("t2i verify work/dataset", "t2i verify work/dataset --repair", "t2i verify work/run"),
)
def verify_command(
    folder: Annotated[Path, typer.Argument(help="A folder that a step made, or champion.")],
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Move damaged shards of a dataset aside as NAME.damaged; the same ingest refills only them.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare a folder with its manifest, and say what is damaged or lost; exit code 1 if anything is."""
    folder = model_folder(folder)
    folder = named_version(folder)
    kind = read_manifest(folder).kind
    if repair and kind != "dataset":
        raise ConfigError(f"--repair is for the shards of a dataset, and {folder} is a {kind} folder.")
    whole = _verify_dataset(folder, repair, as_json) if kind == "dataset" else _verify_whole(folder, as_json)
    if not whole:
        raise typer.Exit(1)


def _verify_dataset(folder: Path, repair: bool, as_json: bool) -> bool:
    from t2i_core.data.dataset.verify import verify

    with progress() as view:
        result = verify(folder, repair=repair, on_progress=view)
    if as_json:
        say_json(result.model_dump(mode="json"))
    else:
        for damage in result.damaged:
            say(_describe_damage(damage))
        lost = f"{len(result.damaged):,} damaged, {result.num_lost:,} samples lost"
        say(f"{folder}: {result.num_shards:,} shards, {result.num_samples:,} samples; {lost}")
        if result.damaged:
            say("The same ingest command refills them." if repair else "With --repair they are moved aside.")
    return not result.damaged


def _verify_whole(folder: Path, as_json: bool) -> bool:
    from t2i_core.lineage.whole import verify_whole

    with progress() as view:
        result = verify_whole(folder, on_progress=view)
    if as_json:
        say_json(result.model_dump(mode="json"))
    else:
        for problem in result.problems:
            say(problem)
        say(f"{folder}: {result.num_files:,} files; {len(result.problems):,} problems")
        if result.problems:
            say("Delete what is damaged and run the step that made it again.")
    return not result.problems


def _describe_damage(damage: "ShardDamage") -> str:
    keys = ", ".join(damage.lost[:KEYS_SHOWN])
    more = f" and {len(damage.lost) - KEYS_SHOWN:,} more (--json names all)" if len(damage.lost) > KEYS_SHOWN else ""
    lost = f"{damage.num_lost:,} of {damage.num_samples:,} samples lost" + (f": {keys}{more}" if keys else "")
    return f"shard {damage.shard}: {'; '.join(damage.problems)}; {lost}"


@app.command(
    "purge",
    cls=PlainCommand,
    epilog=examples(
        "t2i purge work/dataset --url https://example.org/a.png",
        "t2i purge work/dataset --domain example.org --from requests.txt",
    ),
)
def purge_command(
    dataset_dir: Annotated[Path, typer.Argument(help="A finished dataset folder.")],
    url: Annotated[
        list[str] | None, typer.Option(metavar="<url>", help="URL of a picture; may be given more than once.")
    ] = None,
    domain: Annotated[
        list[str] | None,
        typer.Option(metavar="<host>", help="Host of pictures, hosts below it too; may be given more than once."),
    ] = None,
    sha256: Annotated[
        list[str] | None,
        typer.Option(metavar="<hash>", help="Of a picture's source bytes; may be given more than once."),
    ] = None,
    from_file: Annotated[
        Path | None, typer.Option("--from", help="File of them, one a line: sha256, URL (it holds a /) or domain.")
    ] = None,
    workspace: Annotated[
        Path | None, typer.Option(help="Where to look for what was made. [default: the folder above the dataset]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove samples from a dataset for good, and name what was made with them."""
    from t2i_core.data.dataset.purge import purge
    from t2i_core.data.dataset.purge_request import PurgeRequest
    from t2i_core.lineage.holders import find_samples

    request = PurgeRequest.parse(url or (), domain or (), sha256 or (), from_file)
    root = _folder(workspace or dataset_dir.resolve().parent)
    with progress() as view:
        result = purge(dataset_dir, request, on_progress=view)
    if as_json:
        made_with = _dump(find_samples(root, result.uids), root)
        return say_json(result.model_dump(mode="json", exclude={"uids"}) | {"made_with": made_with})
    # Said before the search, which may fail at a folder that has nothing to do with the dataset.
    _write_purge(result)
    return write_holders(find_samples(root, result.uids), root, f"made with a purged sample, below {root}")


def _write_purge(result: "PurgeResult") -> None:
    done = f"{result.num_rows:,} rows purged, {result.num_pictures:,} pictures, in {len(result.shards):,} shards"
    say(f"{result.dataset_dir}: {done}; {len(result.uids):,} samples purged in all; digest {result.digest}")
    for name in result.deleted:
        say(f"deleted: {name}, a copy of a damaged shard that verify had set aside")
    if result.previous:
        say(f"purged too: {result.previous}, which this dataset replaced")
    if result.unread:
        say(f"not purged: {result.unread} is damaged or not finished and may hold the same samples; delete it")


@app.command(
    "lineage",
    cls=PlainCommand,
    epilog=examples(
        "t2i lineage work/evaluation",
        "t2i lineage work/evaluation --urls",
        "t2i lineage work --url https://example.org/a.png",
    ),
)
def lineage_command(
    path: Annotated[Path, typer.Argument(help="A folder that a step made, a drawn PNG, or champion.")],
    urls: Annotated[
        bool,
        typer.Option("--urls", help="List the training samples instead: key, uid, URL and time of fetch, one a line."),
    ] = False,
    url: Annotated[str, typer.Option(help="The other way: what at and below PATH holds this URL or rests on it.")] = "",
    workspace: Annotated[
        Path | None, typer.Option(help="Where the run of a PNG is. [default: the folder above the picture's]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Follow a score or a picture to its sources, or a URL to all that was made with it."""
    from t2i_core.lineage.ancestors import trace, trace_picture, training_samples
    from t2i_core.lineage.holders import find_url

    if urls and url:
        raise ConfigError("give --urls or --url, not both.")
    if url:
        holders = find_url(path, url)
        return say_json(_dump(holders, path)) if as_json else write_holders(holders, path, f"at and below {path}")
    path = model_folder(path)
    path = named_version(path)
    ancestors = trace(path) if path.is_dir() or not path.exists() else trace_picture(path, workspace)
    if urls:
        for sample in training_samples(ancestors):
            if as_json:
                say_json(sample.model_dump(mode="json"), indent=None)
            else:
                typer.echo("\t".join(map(plain, (sample.key, sample.uid, sample.url, sample.fetched_at))))
        return None
    return say_json(_chain(ancestors)) if as_json else _write_chain(ancestors)


def _chain(ancestors: "Sequence[Ancestor]") -> dict[str, Any]:
    from t2i_core.lineage.ancestors import outdated

    chain = [
        ancestor.as_dict() | {"folder": str(ancestor.folder), "sources": ancestor.manifest.sources}
        for ancestor in ancestors
    ]
    return {"chain": chain, "outdated": outdated(ancestors)}


def _write_chain(ancestors: "Sequence[Ancestor]") -> None:
    from t2i_core.lineage.ancestors import outdated

    for ancestor in ancestors:
        manifest = ancestor.manifest
        counts = ", ".join(f"{name} {count:,}" for name, count in sorted(manifest.counts.items()))
        say(f"{manifest.kind} {manifest.digest:.{DIGEST_SHOWN}} {ancestor.folder} ({counts})")
        if "source" in manifest.sources:
            say(f"source {manifest.key.inputs.get('source', ''):.{DIGEST_SHOWN}} {manifest.sources['source']}")
    for sentence in outdated(ancestors):
        say(f"outdated: {sentence}")


def write_holders(holders: "Sequence[Holder]", root: Path, where: str) -> None:
    """Say what holds some samples or was made with them, and which of it is in use."""
    named = names_below(root)
    say(f"{len(holders):,} {where}")
    for holder in holders:
        note = "" if holder.certain else " (its captions are gone or elsewhere, so this is not certain)"
        name = f" ({named[holder.digest]})" if holder.digest in named else ""
        say(f"{holder.kind} {holder.digest:.{DIGEST_SHOWN}} {holder.folder}{_row_counts(holder)}{name}{note}")
        for row in holder.rows[:KEYS_SHOWN]:
            say("  " + " ".join(filter(None, (row.key, row.uid, row.split, row.status, row.reason))))
        if len(holder.rows) > KEYS_SHOWN:
            say(f"  and {len(holder.rows) - KEYS_SHOWN:,} more (--json names all)")
    if in_use := [named[holder.digest] for holder in holders if holder.digest in named]:
        say(f"in use: {', '.join(in_use)}. `t2i promote` puts another in its place, `t2i rollback` the one before.")


def _row_counts(holder: "Holder") -> str:
    counts = Counter(row.split or row.status for row in holder.rows)
    return f" ({', '.join(f'{name} {count:,}' for name, count in sorted(counts.items()))})" if counts else ""


def _dump(holders: "Iterable[Holder]", root: Path) -> list[dict[str, Any]]:
    named = names_below(root)
    return [holder.model_dump(mode="json") | {"name": named.get(holder.digest, "")} for holder in holders]


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise ConfigError(f"no such folder: {path}")
    return path
