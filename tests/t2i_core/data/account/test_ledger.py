import json
from typing import Any

import pyarrow as pa
import pytest
from yarl import URL

from t2i_core.data.account import ledger as hosts
from t2i_core.data.account.ledger import HostLedger, hosts_json
from t2i_core.data.traffic import Traffic, TrafficCounter


def table(*rows: tuple[str, str]) -> pa.Table:
    urls, reasons = zip(*rows, strict=True)
    return pa.table({"url": urls, "reason": reasons})


def entry(host: str, kept: int, rejected: dict[str, int], requests: int = 0, num_bytes: int = 0) -> dict[str, Any]:
    sources = kept + sum(rejected.values())
    counts = {"sources": sources, "kept": kept, "rejected": rejected, "requests": requests, "bytes": num_bytes}
    return {"host": host} | counts


def test_traffic_is_given_once() -> None:
    counter = TrafficCounter()
    counter.add(URL("http://b.example/x"), 1, 5)
    counter.add(URL("https://b.example:81/y"), 1, 7)
    counter.add(URL("http://a.example/"), 1, 0)
    taken = counter.take()
    assert list(taken.items()) == [
        ("a.example", Traffic(requests=1)),
        ("b.example", Traffic(requests=2, bytes=12)),
    ]
    assert counter.take() == {}


def test_sources_are_added_up_by_host_whatever_its_spelling() -> None:
    ledger = HostLedger()
    ledger.add_table(
        table(
            ("http://a.example/1", ""),
            ("HTTPS://A.Example:81/2", "robots"),
            ("http://münchen.example/3", ""),
            ("pictures/4.png", "not_an_image"),
            ("ftp://c.example/5", "bad_scheme"),
        )
    )
    ledger.add_table(table(("http://a.example/1", "denied"), ("http://a.example/6", "robots")))
    ledger.add_traffic({"a.example": Traffic(requests=2, bytes=10), "redirected.example": Traffic(requests=1)})
    ledger.add_traffic({"a.example": Traffic(requests=3, bytes=5)})
    assert ledger.entries() == [
        entry("a.example", 1, {"denied": 1, "robots": 2}, 5, 15),
        entry("", 0, {"bad_scheme": 1, "not_an_image": 1}),
        entry("xn--mnchen-3ya.example", 1, {}),
        entry("redirected.example", 0, {}, 1),
    ]
    assert json.loads(hosts_json(ledger.entries()))["hosts"] == ledger.entries()


def test_many_small_hosts_share_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "MAX_HOSTS", 1)
    ledger = HostLedger()
    urls = ["http://big.example/1", "http://big.example/2", "http://a.example/", "http://b.example/"]
    ledger.add_table(table(*((url, "") for url in urls[:3]), (urls[3], "dns")))
    ledger.add_traffic({"b.example": Traffic(requests=1, bytes=2), "a.example": Traffic(requests=3, bytes=4)})
    assert ledger.entries() == [
        entry("big.example", 2, {}),
        entry("others", 1, {"dns": 1}, 4, 6) | {"num_hosts": 2},
    ]
