import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from t2i_core.data.address import normalise_url
from t2i_core.data.manners.denylist import NOTHING_DENIED, DenyList
from t2i_core.errors import ConfigError


def deny(tmp_path: Path, text: str) -> DenyList:
    path = tmp_path / "deny.txt"
    path.write_text(text, encoding="utf-8")
    return DenyList.read(path)


def is_denied(deny_list: DenyList, text: str) -> bool:
    url = normalise_url(text)
    assert isinstance(url, URL)
    refusal = deny_list.refusal(url)
    assert refusal is None or refusal.reason == "denied"
    return refusal is not None


@pytest.mark.parametrize(
    ("line", "denied", "allowed"),
    [
        ("example.com", ["http://example.com/", "https://a.b.EXAMPLE.com:81/x"], ["http://notexample.com/"]),
        ("*.example.com", ["http://img.example.com/x"], ["http://example.com.evil.test/"]),
        (".example.com.", ["http://example.com/x"], ["http://example.org/x"]),
        ("münchen.example", ["http://xn--mnchen-3ya.example/"], ["http://munchen.example/"]),
        ("192.0.2.7", ["http://192.0.2.7/x"], ["http://192.0.2.70/x"]),
        ("[2001:db8::1]", ["http://[2001:db8:0::1]/x"], ["http://[2001:db8::2]/x"]),
        ("localhost", ["http://localhost:8000/"], ["http://local/"]),
        (
            "https://a.example/art/",
            ["http://A.example/art/x.png", "https://a.example:443/art/"],
            ["http://a.example/ar"],
        ),
        ("http://a.example/x y#z", ["http://a.example/x%20y.png"], ["http://a.example/x"]),
        ("http://a.example", ["http://a.example/x", "https://a.example"], ["http://b.a.example/x"]),
        ("http://a.example:81/", ["http://a.example:81/x"], ["http://a.example/x"]),
        ("0.2.7", ["http://0.2.7/x"], ["http://192.0.2.7/x"]),
        (
            f"SHA256:{hashlib.sha256(b'http://a.example/x%20y').hexdigest()}",
            ["http://A.example/x y#part"],
            ["http://a.example/x%20y?z", "https://a.example/x%20y"],
        ),
    ],
)
def test_domains_and_addresses_are_denied(tmp_path: Path, line: str, denied: list[str], allowed: list[str]) -> None:
    deny_list = deny(tmp_path, f"{line}\n")
    assert [is_denied(deny_list, url) for url in [*denied, *allowed]] == [True] * len(denied) + [False] * len(allowed)


def test_lists_can_be_joined(tmp_path: Path) -> None:
    first = "a.example\n" + "ab" * 32 + "\nhttp://b.example/x/\n"
    second = "b.example\n" + "cd" * 16 + "\nsha256:" + "ef" * 32 + "\nhttps://b.example/x/y\n"
    joined = deny(tmp_path, first).joined(deny(tmp_path, second))
    assert joined == deny(tmp_path, first + second)
    assert joined.digest == deny(tmp_path, second + first).digest != deny(tmp_path, first).digest
    assert joined.joined(NOTHING_DENIED) == joined


def test_source_bytes_are_denied_by_either_hash(tmp_path: Path) -> None:
    lines = [hashlib.sha256(b"one").hexdigest().upper(), hashlib.md5(b"two").hexdigest()]
    deny_list = deny(tmp_path, "\n".join(lines))
    refusals = [deny_list.refusal_of_bytes(body) for body in (b"one", b"two", b"three")]
    assert [str(refusal.reason) if refusal else "" for refusal in refusals] == ["denied", "denied", ""]


def test_comments_blank_lines_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    deny_list = deny(tmp_path, "\ufeff# who asked\n\n  a.example  # on 3 May\nhttp://b.example/#top\n")
    assert deny_list == DenyList(frozenset({"a.example"}), ("b.example/",))


@pytest.mark.parametrize(
    "line",
    ["example", "ftp://a.example/x", "a.example/path", "12ab", "two words.example", "http://", "http://u:p@a.b/"],
)
def test_a_line_of_no_kind_is_an_error_that_names_it(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=r"deny\.txt, line 2: .* is not a domain") as caught:
        deny(tmp_path, f"a.example\n{line}\n")
    assert repr(line) in str(caught.value)


def test_a_line_without_end_is_an_error_not_a_full_memory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="line 1"):
        deny(tmp_path, "a" * 100_000)


def test_a_list_that_is_not_there_or_not_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such deny-list"):
        DenyList.read(tmp_path / "missing.txt")
    (tmp_path / "deny.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match="cannot read deny-list"):
        DenyList.read(tmp_path / "deny.txt")


def test_a_folder_counts_as_all_its_files_and_the_digest_is_of_what_is_denied(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/a.txt").write_text("b.example\nhttp://c.example/x\n")
    (tmp_path / "lists/b.txt").write_text("a.example\n")
    (tmp_path / "lists/.hidden").write_text("not a list")
    folder = DenyList.read(tmp_path / "lists")
    single = deny(tmp_path, "# the same\na.example\nhttps://C.example/x\nb.example\nhttp://c.example/xy\n")
    assert folder == single
    assert folder.digest == single.digest
    assert folder.digest != deny(tmp_path, "a.example").digest
    assert NOTHING_DENIED.digest == deny(tmp_path, "").digest


@given(st.lists(st.text("ab/", min_size=1, max_size=4), max_size=8), st.text("ab/", max_size=8))
def test_an_address_is_denied_just_when_it_starts_with_a_prefix(paths: list[str], path: str) -> None:
    from t2i_core.data.manners.denylist import _without_covered

    deny_list = DenyList(prefixes=_without_covered({f"x.example/{start}" for start in paths}))
    expected = any(path.startswith(start) for start in paths)
    assert (deny_list.refusal(URL(f"http://x.example/{path}", encoded=True)) is not None) is expected
