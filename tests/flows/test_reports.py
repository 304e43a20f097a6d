"""Reports are served to this machine alone, and nothing else of a workspace is."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.operations.reports import serving_reports
from tasks.pages import VARIABLE, page_link


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "workspace" / "a run").mkdir(parents=True)
    (tmp_path / "workspace" / "a run" / "report.html").write_text("<p>scores")
    (tmp_path / "workspace" / "a run" / "config.json").write_text("{}")
    (tmp_path / "secret.html").write_text("secret")
    (tmp_path / "workspace" / "link.html").symlink_to(tmp_path / "secret.html")
    return tmp_path / "workspace"


@pytest.fixture
def served(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving_reports(root, port=0) as variable:
        for name, value in variable.items():
            monkeypatch.setenv(name, value)
        yield variable[VARIABLE].partition(" ")[0]


def ask(served: str, path: str, host: str = "localhost:1") -> tuple[int, bytes, str]:
    connection = http.client.HTTPConnection(served.removeprefix("http://"), timeout=30)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers.get("Content-Security-Policy", "")


def test_a_report_is_linked_and_opens(served: str, root: Path) -> None:
    link = page_link(root / "a run" / "report.html")
    assert link == f"[report.html]({served}/a%20run/report.html)"
    status, data, policy = ask(served, "/a%20run/report.html")
    assert (status, data) == (200, b"<p>scores")
    assert "default-src 'none'" in policy


@pytest.mark.parametrize(
    "path",
    ["/", "/a%20run/", "/a%20run/config.json", "/../secret.html", "/%2e%2e/secret.html", "/link.html", "/%00.html"],
)
def test_nothing_else_is(served: str, path: str) -> None:
    assert ask(served, path)[0] == 404


def test_a_site_whose_name_leads_here_gets_nothing(served: str) -> None:
    assert ask(served, "/a%20run/report.html", "evil.example:4201")[0] == 404


def test_what_nobody_serves_is_named_by_its_place(served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert page_link(tmp_path / "secret.html") == f"`{tmp_path / 'secret.html'}`"
    monkeypatch.delenv(VARIABLE)
    assert page_link(Path("runs/report.html")) == "`runs/report.html`"
