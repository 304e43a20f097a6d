"""The purge flow: samples removed from a dataset for good."""

from pathlib import Path

from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.job import job
from t2i_core.data.dataset.purge import PurgeResult
from t2i_core.data.dataset.purge_request import PurgeRequest
from tasks.upkeep import purge as remove


@job("purge", "purge {dataset_dir}")
def purge(
    dataset_dir: Path,
    urls: tuple[str, ...] = (),
    domains: tuple[str, ...] = (),
    sha256s: tuple[str, ...] = (),
    from_file: str = "",
    workspace: str = "",
    deny_list: str = "",
) -> State[PurgeResult]:
    """Remove samples from a dataset for good, and name what was made with them.

    Args:
        dataset_dir: A finished dataset.
        urls: URLs of pictures.
        domains: Hosts of pictures, hosts below them too.
        sha256s: Of pictures' source bytes, in hexadecimal.
        from_file: File of them, one a line: sha256, URL (it holds a /) or domain; empty for none.
        workspace: Where to look for what was made with them; empty for the folder above the dataset.
        deny_list: Deny-list to add them to, so that no ingest that reads it takes them again; empty for none.
    """
    request = PurgeRequest.parse(urls, domains, sha256s, Path(from_file) if from_file else None)
    root = Path(workspace) if workspace else dataset_dir.resolve().parent
    state = remove(dataset_dir, request, root, Path(deny_list) if deny_list else None)
    return Completed(message=state.message, data=state.result())
