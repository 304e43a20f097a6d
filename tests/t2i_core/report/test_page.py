"""What every report promises to whoever opens it: nothing in it runs, is fetched or is sent."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from t2i_core.report.page import render_page

ROOT = Path(__file__).parents[3]
TEMPLATES = sorted((ROOT / "t2i_core").rglob("report.html.j2"))
EVIL = (
    """<img src="data:," onerror="document.body.textContent='ran'"><script>document.body.textContent='ran'</script>"""
)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    package = tmp_path / "of_a_test"
    package.mkdir()
    (package / "__init__.py").touch()
    content = "<p>{{ said }}</p><p>as it was</p>{{ past | safe }}"
    page = '{% extends "page.html.j2" %}{% block content %}' + content + "{% endblock %}"
    (package / "test.html.j2").write_text(page)
    monkeypatch.syspath_prepend(str(tmp_path))
    return render_page("of_a_test", "test.html.j2", said=EVIL, past=EVIL)


def test_text_is_escaped_and_the_page_has_a_policy_before_all_else(page: str) -> None:
    assert "&lt;script&gt;" in page
    head, _, rest = page.partition('<meta http-equiv="Content-Security-Policy" content="')
    assert not re.search(r"<(style|link|script|title)", head)
    policy = dict(part.strip().split(" ", 1) for part in rest.split('"')[0].split(";"))
    assert policy["default-src"] == "'none'" and "script-src" not in policy
    assert policy["img-src"] == "data:" and policy["base-uri"] == policy["form-action"] == "'none'"


def test_every_report_extends_that_page_and_marks_nothing_foreign_as_safe() -> None:
    assert len(TEMPLATES) >= 3
    for path in TEMPLATES:
        text = path.read_text(encoding="utf-8")
        assert '{% extends "page.html.j2" %}' in text, path
        assert not re.search(r"<script|\bon\w+=|javascript:|autoescape", text), path
        assert all(re.search(r"'[^']*'\s*\|\s*safe", line) for line in text.splitlines() if "| safe" in line), path


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium to open it in")
def test_what_gets_past_the_escaping_does_not_run(page: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", profile, "--dump-dom", path.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "as it was" in shown and ">ran<" not in shown
