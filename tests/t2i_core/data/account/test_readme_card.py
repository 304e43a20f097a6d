"""The data card, as Hugging Face's library reads it."""

import csv
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image

from t2i_core.data.account.figures import DatasetFigures
from t2i_core.data.account.readme_card import escaped, license_names, quoted, size_category
from t2i_core.data.account.survey import Overview
from t2i_core.data.dataset.purge import purge
from t2i_core.data.dataset.purge_request import PurgeRequest
from t2i_core.data.text import clean_text
from t2i_core.folders.manifest import Manifest, StepKey, read_manifest
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest

CONFIG = IngestConfig(image_size=16, encode_format="png", samples_per_shard=8, allow_private=("localhost",), retries=0)
# A column of an awkward name; one that is empty in the first rows; numbers.
HEAD = ["url", "caption", 'no"te: \u2028[x]', "late", "score"]


@pytest.fixture
def dataset(site: Any, make_png: Any, tmp_path: Path) -> Path:
    """Twenty pictures in four shards; in the first one there is none."""
    with (tmp_path / "list.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(HEAD)
        rows.writerows([site.url(f"/missing{n}.png"), "", "", "", 1.5] for n in range(8))
        for n in range(20):
            site.content[f"/{n}.png"] = make_png((n * 10, 0, 0))
            rows.writerow([site.url(f"/{n}.png"), f"caption {n}", "---\n# x", "late" if n > 12 else "", n / 2])
    ingest(str(tmp_path / "list.csv"), CONFIG, tmp_path / "ds")
    return tmp_path / "ds"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    import datasets

    datasets.disable_progress_bars()
    return lambda folder: datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))


def head_of(dataset_dir: Path) -> dict[str, Any]:
    text = (dataset_dir / "README.md").read_text()
    head: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return head


def test_hugging_face_reads_the_folder_as_it_is(dataset: Path, load: Any) -> None:
    found = load(dataset)

    head = head_of(dataset)
    assert (head["license"], head["size_categories"]) == (["unknown"], ["n<1K"])
    assert head["configs"] == [{"config_name": "default", "data_files": [{"split": "train", "path": "shards/*.tar"}]}]
    assert len(found) == read_manifest(dataset).counts["kept"] == 20
    assert found["txt"][:] == [f"caption {n}" for n in range(20)]
    assert all(image.getpixel((8, 15)) == (n * 10, 0, 0) for n, image in enumerate(found["png"]))
    assert [row["late"] for row in found["json"]] == ["late" if n > 12 else "" for n in range(20)]
    assert [row["score"] for row in found["json"]] == [str(n / 2) for n in range(20)]
    assert set(HEAD[1:]) <= set(found["json"][0])


def test_typed_columns_and_lists_are_read_too(tmp_path: Path, load: Any) -> None:
    (tmp_path / "in").mkdir()
    Image.effect_noise((16, 16), 90).save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "metadata.jsonl").write_text(
        '{"file_name": "a.png", "caption": "hello", "tags": ["x", "y"], "score": 0.5, "n": 3, "ok": true}\n'
    )
    ingest(str(tmp_path / "in"), CONFIG, tmp_path / "ds")

    [row] = load(tmp_path / "ds")
    assert row["txt"] == "hello"
    assert (row["json"]["tags"], row["json"]["score"], row["json"]["n"], row["json"]["ok"]) == (
        ["x", "y"],
        0.5,
        3,
        True,
    )


def test_a_purge_writes_it_anew(site: Any, dataset: Path, load: Any) -> None:
    purge(dataset, PurgeRequest.parse(urls=[site.url("/4.png")]))

    assert "caption 4" not in load(dataset)["txt"][:]
    text = (dataset / "README.md").read_text()
    assert "purged on request so far: 1." in text
    assert read_manifest(dataset).digest in text


def test_sizes_are_told_by_powers_of_ten() -> None:
    edges = {0: "n<1K", 999: "n<1K", 1000: "1K<n<10K", 99_999: "10K<n<100K", 10**6: "1M<n<10M", 10**12: "n>1T"}
    assert {number: size_category(number) for number in edges} == edges


@pytest.mark.parametrize(
    ("stated", "names"),
    [
        ({}, ["unknown"]),
        ({"": 4}, ["unknown"]),
        ({"CC0": 1, "https://creativecommons.org/licenses/by-nc-sa/4.0/": 3}, ["cc-by-nc-sa-4.0", "cc0-1.0"]),
        ({"http://creativecommons.org/publicdomain/zero/1.0/deed.en": 2, "CC BY 4.0": 2}, ["cc-by-4.0", "cc0-1.0"]),
        ({"CC0": 3, "": 1}, ["other"]),
        ({"CC0": 3, "mine": 1}, ["other"]),
        ({"https://creativecommons.org/licenses/by/9.9/": 4}, ["other"]),
        ({"cc0-1.0\n- mit": 4}, ["other"]),
    ],
)
def test_licenses_are_named_only_where_all_are_known(stated: dict[str, int], names: list[str]) -> None:
    key = StepKey(step="ingest", version=1, config={}, inputs={})
    manifest = Manifest(kind="dataset", key=key, code_version="0", sources={}, counts={"kept": 4}, files=())
    overview = Overview(manifest, DatasetFigures(licenses=Counter(stated)), [], 0, 0, 0, {})
    assert license_names(overview) == names


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_any_text_survives_in_the_head(text: str) -> None:
    text = clean_text(text)
    assert yaml.safe_load(f"- name: {quoted(text)}\n") == [{"name": text}]


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.text(), st.text(alphabet="<>[]()!*_`~#|&;.:/\\-+=w@ \n1ahtps")))
def test_no_text_becomes_markup(text: str) -> None:
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(f"Text: {escaped(text)}")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert {token.type for token in tokens[1].children or ()} <= {"text", "text_special"}
    # Sites also make links of what looks like one.
    assert not re.search(r"://|www\.|[^\\]@|[\u202a-\u202e]", escaped(text))
