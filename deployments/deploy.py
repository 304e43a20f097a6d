"""Brings the configured Prefect server in line with this folder: pool, queues, automations, deployments.

Run it as often as you like (`make deploy`): what is there is updated, nothing is made twice, and what the operator set
stays: limits, schedules, automations that were switched off.
"""

import sys
from contextlib import suppress
from pathlib import Path

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from flows.operations.automations import notification_block, planned_automations, set_automations
from flows.operations.deployments import deploy_flows, suggest_schedules
from flows.operations.pools import set_pool

CHECKOUT = Path(__file__).resolve().parents[1]
PREFECT_FILE = Path(__file__).with_name("prefect.yaml")
# Limited trainings by a tag until a hard kill leaked its only slot; queues and the lock of a folder do it now.
OLD_TAG_LIMIT = "t2i-train"


def main() -> int:
    """Do it all, and give the exit code."""
    url = PREFECT_API_URL.value()
    if not url:
        print(
            "no Prefect server is configured. Start one with `prefect server start`, and name it:"
            " export PREFECT_API_URL=http://127.0.0.1:4200/api",
            file=sys.stderr,
        )
        return 2
    with get_client(sync_client=True) as client:
        if error := client.api_healthcheck():
            print(f"no Prefect server answers at {url}: {error}", file=sys.stderr)
            return 1
        if lets_everybody_in(url):
            print(
                f"the Prefect server at {url} lets everybody in, also web pages open in your browser, which could have"
                " its workers run anything. Run `make auth`, start the server again, then this.",
                file=sys.stderr,
            )
            return 2
        return bring_in_line(client)


def bring_in_line(client: SyncPrefectClient) -> int:
    """Set what the server needs, and give the exit code."""
    set_pool(client)
    with suppress(ObjectNotFound):
        client.delete_concurrency_limit_by_tag(OLD_TAG_LIMIT)
    block = notification_block(client)
    set_automations(client, planned_automations(block))
    if code := deploy_flows(PREFECT_FILE, CHECKOUT):
        return code
    suggest_schedules(client, PREFECT_FILE)
    if block is None:
        print("nobody is notified of crashes: save a notification block named t2i in the UI, and run this again.")
    return 0


def lets_everybody_in(url: str) -> bool:
    """Ask the server something without a password."""
    return httpx.get(f"{url}/admin/version", timeout=30, follow_redirects=True).status_code == 200


if __name__ == "__main__":
    sys.exit(main())
