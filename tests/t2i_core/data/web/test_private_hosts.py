"""Which addresses may be asked: those of the public internet, those that were named, and never a cloud's own."""

import asyncio
from ipaddress import ip_address
from typing import Any

import pytest
from yarl import URL

from t2i_core.data import address
from t2i_core.data.answer import Fetched
from t2i_core.data.networks import gives_credentials
from t2i_core.data.reject import Rejection
from t2i_core.data.web.fetch import Fetcher, FetchOptions
from t2i_core.data.web.private_hosts import CREDENTIALS, PrivateHosts
from t2i_core.data.web.resolver import PrivateAddressError, Resolver
from t2i_core.errors import ConfigError
from t2i_core.ingestion.step import IngestConfig, ingest_key

# First and last address of every range that the registries of the IANA set apart, and addresses of clouds.
SPECIAL = (
    *("0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.0"),
    *("127.255.255.255", "169.254.0.0", "169.254.255.255", "172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.9"),
    *("192.0.0.10", "192.0.0.170", "192.0.0.192", "192.0.0.255", "192.0.2.1", "192.31.196.1", "192.52.193.1"),
    *("192.88.99.1", "192.168.0.0", "192.168.255.255", "192.175.48.1", "198.18.0.0", "198.19.255.255"),
    *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.0", "255.255.255.255"),
    *("168.63.129.16", "100.100.100.200"),
    *("::", "::1", "::7f00:1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::808:808", "100::1", "100:0:0:1::1"),
    *("2001::1", "2001:1::1", "2001:2::1", "2001:3::1", "2001:10::1", "2001:20::1", "2001:db8::1", "3fff::1"),
    *("2002:7f00:1::", "2002:a00:1::1", "2620:4f:8000::1", "5f00::1", "fc00::1", "fdff::1", "fe80::1", "fec0::1"),
    *("feff::1", "ff02::1", "fd00:ec2::254", "fd20:ce::254", "2a00::5efe:10.0.0.1", "2a00::200:5efe:7f00:1"),
    *("2606:4700::1%eth0", "4000::1", "1fff::1"),
)
PUBLIC = (
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *("168.63.129.15", "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255"),
    *("198.17.255.255", "198.20.0.0", "223.255.255.255", "2001:200::1", "2606:4700::1", "2a00:1450:4001::1"),
    *("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),
)
CREDENTIAL_HOLDERS = (
    *("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192"),
    *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "2a00::5efe:a9fe:a9fe"),
    *("fd00:ec2::254", "fd20:ce::254", "fe80::a9fe:a9fe", "fe80::1%eth0", "fd00:42::42", "fd00:c1::a9fe:a9fe"),
)
EVERYTHING = ["0.0.0.0/0", "::/0", "metadata.google.internal", "localhost"]


@pytest.mark.parametrize("text", SPECIAL)
def test_a_special_range_is_not_public(text: str) -> None:
    assert not address.is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_what_lies_beside_the_special_ranges_is_public(text: str) -> None:
    assert address.is_public(ip_address(text))


@pytest.mark.parametrize("text", CREDENTIAL_HOLDERS)
def test_where_clouds_keep_credentials_is_never_asked(text: str) -> None:
    assert gives_credentials(ip_address(text))
    refusal = PrivateHosts.parse(EVERYTHING).refusal("metadata.google.internal", ip_address(text))
    assert refusal is not None and refusal.message == CREDENTIALS


@pytest.mark.parametrize(
    ("entries", "host", "found", "allowed"),
    [
        ([], "a.example", "10.0.0.1", False),
        (["10.0.0.0/8"], "a.example", "10.0.0.1", True),
        (["10.0.0.0/8"], "a.example", "192.168.0.1", False),
        (["10.0.0.1"], "a.example", "::ffff:10.0.0.1", True),
        (["nas.local"], "NAS.local.", "192.168.0.1", True),
        (["nas.local"], "evil.nas.local", "192.168.0.1", False),
        (["localhost"], "127.0.0.1", "127.0.0.1", True),
        (["localhost"], "a.example", "::1", True),
        (["localhost"], "a.example", "10.0.0.1", False),
        (["[::1]"], "::1", "::1", True),
        (["fd12::/16"], "a.example", "fd12::7", True),
    ],
)
def test_only_what_was_named_is_allowed(entries: list[str], host: str, found: str, allowed: bool) -> None:
    assert (PrivateHosts.parse(entries).refusal(host, ip_address(found)) is None) == allowed


@pytest.mark.parametrize("entry", ["http://nas.local", "nas.local:80", "10.0.0.300", "0x7f.1", "*", "a b", "10/8/8"])
def test_an_entry_that_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(ConfigError, match="allow_private"):
        IngestConfig.parse({"allow_private": [entry]})


def test_entries_may_stand_together_and_the_old_switch_asks_for_names() -> None:
    config = IngestConfig.parse({"allow_private": ["10.0.0.0/8, nas.local", "localhost"]})
    assert config.allow_private == ("10.0.0.0/8", "nas.local", "localhost")
    assert IngestConfig.parse(config.model_dump(mode="json")) == config
    assert IngestConfig.parse({"allow_private": False}).allow_private == ()
    with pytest.raises(ConfigError, match="name the hosts"):
        IngestConfig.parse({"allow_private": True})


def test_a_data_set_made_before_hosts_were_named_is_still_found() -> None:
    assert ingest_key("http://a.example/", IngestConfig()).config["allow_private"] is False


def test_a_name_that_changes_to_a_cloud_s_address_is_refused_though_it_was_named() -> None:
    resolving = Resolver(PrivateHosts.parse(["a.example"]), look_up=lambda _: ["10.0.0.1", "169.254.169.254"])
    with pytest.raises(PrivateAddressError, match="credentials"):
        asyncio.run(resolving.addresses("a.example"))


def answers(allowed: tuple[str, ...], *urls: str) -> list[str]:
    async def run() -> list[str]:
        found = []
        async with Fetcher(FetchOptions(allow_private=allowed, retries=0, timeout_seconds=5)) as fetcher:
            for url in urls:
                async with fetcher.fetch(url) as answer:
                    found.append("ok" if isinstance(answer, Fetched) else f"{answer.reason}: {answer.message}")
        return found

    return asyncio.run(run())


def test_a_redirect_leads_only_to_what_was_named(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # 127.0.0.1 plays the public internet here, the rest of the loopback network a private one.
    is_public = address.is_public
    monkeypatch.setattr(address, "is_public", lambda ip: str(ip) == "127.0.0.1" or is_public(ip))
    asked: list[str] = []
    look_up = Resolver.addresses

    async def noted(self: Resolver, host: str) -> list[str]:
        asked.append(host)
        return await look_up(self, host)

    monkeypatch.setattr(Resolver, "addresses", noted)
    site.content |= {f"/{name}": 302 for name in ("inner", "meta", "named")} | {"/x.png": b"fine"}
    site.headers |= {
        "/inner": {"Location": f"http://127.0.0.2:{site.port}/x.png"},
        "/named": {"Location": f"http://localhost:{site.port}/x.png"},
        "/meta": {"Location": "http://169.254.169.254/latest/meta-data/"},
    }
    urls = [site.url("/inner"), site.url("/meta")]
    private = "private_address: the host is not on the public internet (--allow-private HOST lets it be asked)"
    assert answers((), *urls) == [private, f"private_address: {CREDENTIALS}"]
    assert answers(("10.0.0.0/8",), *urls) == [private, f"private_address: {CREDENTIALS}"]
    assert answers(("127.0.0.0/8", "169.254.169.254"), urls[1], site.url("/named")) == [
        f"private_address: {CREDENTIALS}",
        "ok",
    ]
    assert "169.254.169.254" not in asked


def test_a_refusal_of_a_literal_comes_before_any_request() -> None:
    url = URL("http://[fe80::1%25lo]/")
    refused = PrivateHosts.parse(["fe80::/10"]).refusal_of(url)
    assert isinstance(refused, Rejection)
