"""What nights on a site that changes have to keep, held against the truth; each promise in words, with whether it was.

The drill of three scheduled nights asks this of a server and a worker, and a test of the same nights in one process.
"""

from collections.abc import Sequence
from pathlib import Path

from yarl import URL

from flows.nights.config import NightlyConfig
from t2i_core.data.dataset.folder import files_by_shard
from t2i_core.data.dataset.history import read_opt_outs
from t2i_core.data.dataset.tombstone import url_sha256
from t2i_core.data.shards.layout import SHARDS_DIR
from t2i_core.data.shards.reader import stored_rows
from t2i_core.data.shards.versions import held_versions, read_log
from t2i_core.folders.manifest import read_manifest
from t2i_core.nights.record import read_nights
from t2i_core.promotion.registry import promotions
from t2i_core.samples.nights import SECOND_HOST
from t2i_core.samples.site import SiteConfig
from t2i_core.samples.truth import closed, denied, due, news, requests_in, sent_in


def night_of(folder: Path, site: SiteConfig, number: int) -> SiteConfig:
    """Give the site of a night, with a log of its own."""
    return site.with_changes(night=number, request_log=str(folder / f"requests-{number}.txt"))


def asked_the_truth(folder: Path, site: SiteConfig, nights: int, retries: int) -> dict[str, bool]:
    """Say whether each night asked for what there was, was sent what was new, and asked for nothing denied."""
    kept: dict[str, bool] = {}
    for number in range(nights):
        there = night_of(folder, site, number)
        log = Path(there.request_log)
        asked, sent = requests_in(log), sent_in(log, there)
        kept |= {
            f"night {number + 1}: {asked.total():,} requests for {len(asked):,} rules, pages and pictures are "
            "those of the truth": asked == due(there, retries, holds_earlier=True),
            f"night {number + 1}: {len(sent):,} pictures were sent, those that are new": sent == news(there),
            f"night {number + 1}: none of {len(denied(there)):,} denied pictures was asked for": not (
                asked.keys() & denied(there)
            ),
        }
    return kept


def forgot_who_opted_out(dataset: Path, site: SiteConfig) -> dict[str, bool]:
    """Say whether the pictures of the host that closed its doors are gone from all versions, and whether that is said.

    What it had taken away before that is among them: as long as a version has a picture, its host is heard.
    """
    gone = closed(site)
    report, last = (dataset / "report.html").read_text(encoding="utf-8"), read_log(dataset)[-1]
    held = {number: pictures_of(SECOND_HOST, place) for number, place in held_versions(dataset).items()}
    named = read_opt_outs(dataset)
    urls = {url_sha256(f"http://{address.replace('/', f':{site.port}/', 1)}") for address in gone}
    return {
        f"none of the {len(gone):,} pictures that the host which opted out ever showed is in any of {len(held)} "
        "versions": not any(held.values()),
        f"all {len(gone):,} are named one by one": {each.url_sha256 for each in named} == urls,
        f"the report names the host, and says: {last.story}": last.removed.keys() == {"robots"}
        and last.removed["robots"] + last.erased == len(named)
        and all(words in report for words in (SECOND_HOST, last.story)),
    }


def pictures_of(host: str, dataset: Path) -> frozenset[str]:
    """Give the pictures of a host that a dataset holds, by host and path."""
    shards = files_by_shard(read_manifest(dataset, "dataset"))
    rows = (row for shard in shards for row, members in stored_rows(dataset / SHARDS_DIR, shard) if members)
    urls = (URL(row["url"]) for row in rows)
    return frozenset(f"{host}{url.path}" for url in urls if url.host == host)


def followed_the_interval(workspace: Path, rules: Sequence[NightlyConfig]) -> dict[str, bool]:
    """Say whether the champion changed exactly in those nights whose interval lies above their margin.

    Args:
        workspace: of the nights.
        rules: by which each night after the first decided.
    """
    first, *later = read_nights(workspace)
    better = []
    for night, rule in zip(later, rules, strict=True):
        seen = night.evidence
        passed = seen is not None and seen.prompts >= rule.min_prompts and seen.difference.low > rule.margin
        print(f"night {night.name}, margin {rule.margin:g}: {night.outcome}: {night.why}")
        better += [night] * passed
    due_champions = [night.challenger for night in (first, *better)]
    champions = [change.champion for change in promotions(workspace)]
    return {
        f"the champion changed {len(champions) - 1} times, exactly when the interval said so": first.outcome == "first"
        and champions == due_champions,
    }
