"""Where deployments run: one work pool with a queue for heavy work and one for light work."""

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

POOL = "t2i"
# Runs at once by queue. A training uses a whole machine; what is light does not wait behind it.
QUEUES = {"heavy": 1, "light": 4}


def set_pool(client: SyncPrefectClient) -> None:
    """Make the work pool and its queues; what is there is the operator's, limits too."""
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
    made = [_set_queue(client, name, limit) for name, limit in QUEUES.items()]
    if all(made):
        # A pool from before there were queues, which had a limit for all of its runs.
        client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=None))


def _set_queue(client: SyncPrefectClient, name: str, limit: int) -> bool:
    """Make a queue unless it is there, and tell whether it was made."""
    try:
        client.read_work_queue_by_name(name, work_pool_name=POOL)
    except ObjectNotFound:
        client.create_work_queue(name, concurrency_limit=limit, work_pool_name=POOL)
        return True
    return False
