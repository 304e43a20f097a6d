"""Follows docs/extending.md to the letter, in a copy of the core: what it says to add works as it says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
TRIES_THE_RULE = """
from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.rules import RULES, RULES_BY_NAME, clean
once = clean("a red circle #shapes #art4u on gray, item #", RULES)
again = clean(once.text, RULES)
print(once.text, sorted(once.changed_by), again.changed_by == frozenset(), "strip_hashtags" in CaptionConfig().rules)
"""
TRIES_THE_SAMPLER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("known_answers", sys.argv[1])
known = importlib.util.module_from_spec(spec)
spec.loader.exec_module(known)
from t2i_core.generation.config import GenerateConfig
print(GenerateConfig(sampler="midpoint").sampler)
for schedule in known.SCHEDULES:
    print(known.error("midpoint", schedule, 64) / known.error("midpoint", schedule, 128))
"""


def blocks(title: str) -> list[str]:
    """Give the code under a heading, in its order."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return re.findall(r"```(?:python|text)\n(.*?)```", found[1], re.DOTALL)


def insert(path: Path, before: str, text: str) -> None:
    """Put a text above the only line of a file that begins with another."""
    source = path.read_text(encoding="utf-8")
    assert len(re.findall(rf"^{re.escape(before)}", source, re.MULTILINE)) == 1, before
    path.write_text(re.sub(rf"^(?={re.escape(before)})", lambda _: text, source, flags=re.MULTILINE), encoding="utf-8")


@pytest.fixture
def core(tmp_path: Path) -> Path:
    """A copy of the core that can be added to."""
    return Path(shutil.copytree(ROOT / "t2i_core", tmp_path / "t2i_core", ignore=shutil.ignore_patterns("__pycache__")))


def run(core: Path, code: str, *arguments: str) -> list[str]:
    environment = os.environ | {"PYTHONPATH": str(core.parent)}
    command = [sys.executable, "-P", "-c", code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_caption_rule_added_as_the_docs_say_cleans(core: Path) -> None:
    function, line = blocks("A caption rule of your own")
    rules = core / "captioning" / "rules.py"
    insert(rules, "RULES: tuple", f"{function}\n\n")
    insert(rules, '    CaptionRule("strip_controls"', line)

    (printed,) = run(core, TRIES_THE_RULE)

    assert printed == "a red circle on gray, item # ['collapse_whitespace', 'strip_hashtags'] True True"


def test_a_sampler_added_as_the_docs_say_is_of_its_order(core: Path) -> None:
    module, imported, line, names = blocks("A sampler of your own")
    samplers, kinds = core / "diffusion" / "samplers", core / "diffusion" / "kinds.py"
    (samplers / "midpoint.py").write_text(module, encoding="utf-8")
    insert(samplers / "by_name.py", "SAMPLERS: dict", imported)
    insert(samplers / "by_name.py", '    "dpmpp_2m":', line)
    kinds.write_text(re.sub(r"^SamplerName = .*\n", lambda _: names, kinds.read_text(), flags=re.MULTILINE))

    name, *ratios = run(core, TRIES_THE_SAMPLER, str(ROOT / "tests/t2i_core/diffusion/test_samplers.py"))

    assert name == "midpoint"
    assert len(ratios) >= 2
    assert all(3.3 < float(ratio) < 4.8 for ratio in ratios), ratios
