"""What a finished dataset holds, told four times: `hosts.json` for the owners of sites, `report.html` for people,
`croissant.json` for programs, `README.md` for sites that share datasets. All are written anew whenever it changes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from t2i_core.data.account.card import croissant_json
from t2i_core.data.account.ledger import HOSTS_NAME, hosts_json
from t2i_core.data.account.page import render_report
from t2i_core.data.account.readme_card import render_readme
from t2i_core.data.account.survey import CROISSANT_NAME, README_NAME, REPORT_NAME, survey
from t2i_core.data.shards.versions import Version
from t2i_core.data.traffic import Traffic
from t2i_core.folders.atomic import write_atomically
from t2i_core.folders.manifest import Manifest, OutputFile, describe_file


def write_overview(
    folder: Path,
    manifest: Manifest,
    places: Mapping[int, Path],
    planning: Mapping[str, Traffic],
    history: Sequence[Version] = (),
) -> list[OutputFile]:
    """Write the four files.

    Args:
        folder: gets them.
        manifest: what the dataset holds, the files of its shards included.
        places: the folder in which each shard lies, by its number.
        planning: what each host was asked for pages.
        history: the versions of the dataset, this one the last.
    """
    overview = survey(manifest, places, planning, history)
    texts = {
        HOSTS_NAME: hosts_json(overview.hosts),
        REPORT_NAME: render_report(overview),
        CROISSANT_NAME: croissant_json(overview),
        README_NAME: render_readme(overview),
    }
    for name, text in texts.items():
        write_atomically(folder / name, text)
    # Requests and dates differ from run to run, so these are not part of what the dataset is.
    return [describe_file(folder, folder / name, content=False) for name in texts]
