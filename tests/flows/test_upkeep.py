"""What verify, purge and lineage say, and the codes they end with."""

import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from flows.cli import run
from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.folders.manifest import read_manifest
from t2i_core.ingestion.config import IngestConfig
from t2i_core.ingestion.step import ingest
from t2i_core.samples.site import SiteConfig, serve_site


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Six pictures in two shards, one of them with a name that would break a line, and their captions."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, name in enumerate(["a", "b", "c", "d", "e", "f\nx"]):
        picture = Image.new("RGB", (16, 16), (i * 20, 0, 0))
        picture.paste("white", (0, 0, 8, 8))
        picture.save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"picture number {i}")
    config = IngestConfig(image_size=16, encode_format="png", samples_per_shard=4)
    ingest(str(folder), config, tmp_path / "work/dataset")
    caption(tmp_path / "work/dataset", CaptionConfig(validation_share=0, test_share=0), tmp_path / "work/captions")
    return tmp_path / "work/dataset"


def test_versions_are_listed_compared_and_named_and_opt_outs_are_told(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--image-size", "16", "--encode-format", "png", "--samples-per-shard", "4", "--no-prefect", "--refresh"]
    command = ["ingest", str(tmp_path / "pictures"), "--output-dir", str(dataset), *options]
    assert run(["dataset", "log", str(dataset)]) == 0
    assert capsys.readouterr().out.endswith(": 6 kept; 6 added\n")
    assert run(command) == 0
    assert f"{dataset}: already done" in capsys.readouterr().out
    with Image.open(tmp_path / "pictures/a.png") as picture:
        denied = hashlib.sha256((tmp_path / "pictures/a.png").read_bytes()).hexdigest()
        picture.rotate(90).save(tmp_path / "pictures/b.png")
    (tmp_path / "denied.txt").write_text(denied)
    assert run([*command, "--deny-list", str(tmp_path / "denied.txt")]) == 0
    told = capsys.readouterr().out
    assert "1 samples must not be taken any more; no version holds their pictures" in told
    assert f"captions {read_manifest(tmp_path / 'work/captions').digest[:12]}" in told

    assert run(["dataset", "log", str(dataset)]) == 0
    newest, first = capsys.readouterr().out.splitlines()
    assert newest.endswith("5 kept; 1 changed, 1 removed (denied 1)") and first.startswith("@1 ")
    assert run(["dataset", "diff", str(dataset), "1", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # Whoever opted out is in no version any more, and so in no difference.
    assert [(change["key"], change["other_key"]) for change in found["changed"]] == [("000001", "000020")]
    assert (found["added"], found["removed"]) == ([], [])
    assert run(["verify", f"{dataset}@1"]) == 0
    assert capsys.readouterr().out.endswith("2 shards, 5 samples; 0 damaged, 0 samples lost\n")
    assert run(["verify", f"{dataset}@3"]) == 2
    assert "it holds @1, @2" in capsys.readouterr().err


def test_verify_names_what_is_lost(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(dataset)]) == 0
    assert capsys.readouterr().out == f"{dataset}: 2 shards, 6 samples; 0 damaged, 0 samples lost\n"
    tar = dataset / "shards/00001.tar"
    tar.write_bytes(tar.read_bytes().replace(b"picture number 5", b"picture number 6"))
    assert run(["verify", str(dataset)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "shard 00001: 00001.tar has other bytes than were written; 1 of 2 samples lost: 000011",
        f"{dataset}: 2 shards, 6 samples; 1 damaged, 1 samples lost",
        "With --repair they are moved aside.",
    ]
    assert run(["verify", str(dataset), "--repair", "--json"]) == 1
    (damage,) = json.loads(capsys.readouterr().out)["damaged"]
    assert damage["lost"] == ["000011"]
    assert sorted(path.name for path in dataset.glob("shards/00001*")) == sorted(damage["moved_to"])


def test_verify_compares_any_folder_with_its_manifest(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    captions = dataset.with_name("captions")
    assert run(["verify", str(captions)]) == 0
    assert capsys.readouterr().out == f"{captions}: 4 files; 0 problems\n"
    assert run(["verify", str(captions), "--repair"]) == 2
    assert "--repair is for the shards of a dataset" in capsys.readouterr().err
    tokenizer = captions / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes().swapcase())
    manifest = dataset / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"image_size": 16', '"image_size": 17'))
    assert run(["verify", str(captions), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"] == [
        f"{tokenizer} has other bytes than were written",
        f"{captions} was made from an earlier state of {dataset}.",
    ]


def test_purge_says_what_went_and_what_was_made_with_it(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rows in ("1 rows purged, 1 pictures, in 1 shards", "0 rows purged, 0 pictures, in 0 shards"):
        assert run(["purge", str(dataset), "--url", "b.png"]) == 0
        first, count, captions, row = capsys.readouterr().out.splitlines()
        digest = read_manifest(dataset).digest
        assert first == f"{dataset}: {rows}; 1 samples purged in all; digest {digest}"
        assert count == f"1 made with a purged sample, below {dataset.parent}"
        assert captions.startswith("captions ") and captions.endswith("/captions (train 1)")
        assert row.split()[0] == "000001" and row.split()[2:] == ["train", "kept"]


def test_purge_tells_the_same_in_json(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["purge", str(dataset), "--url", "b.png", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["num_rows"], told["num_pictures"], told["shards"]) == (1, 1, ["00000"])
    assert [(made["kind"], made["rows"][0]["key"]) for made in told["made_with"]] == [("captions", "000001")]


def test_lineage_is_one_line_a_folder(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    captions = dataset.parent / "captions"
    assert run(["lineage", str(captions)]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith(f"captions {read_manifest(captions).digest[:12]} {captions} (")
    assert second.startswith(f"dataset {read_manifest(dataset).digest[:12]} {dataset} (kept 6, ")
    assert third.endswith(f" {dataset.parents[1] / 'pictures'}")
    assert run(["lineage", str(captions), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [link["kind"] for link in told["chain"]] == ["captions", "dataset"]
    assert told["outdated"] == []


def test_every_sample_is_one_line_whatever_its_url(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lineage", str(dataset), "--urls"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[2] for line in lines] == ["a.png", "b.png", "c.png", "d.png", "e.png", r"f\nx.png"]
    assert [line[0] for line in lines] == ["000000", "000001", "000002", "000003", "000010", "000011"]
    assert run(["lineage", str(dataset), "--urls", "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [sample["url"] for sample in told][-1] == "f\nx.png"
    assert [sample["uid"] for sample in told] == [line[1] for line in lines]


def test_a_url_is_followed_onward(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lineage", str(dataset.parent), "--url", "c.png", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(holder["kind"], holder["rows"][0]["key"]) for holder in told] == [
        ("captions", "000002"), ("dataset", "000002")
    ]  # fmt: skip
    assert run(["lineage", str(dataset.parent), "--url", "nobody.png"]) == 0
    assert capsys.readouterr().out == f"0 at and below {dataset.parent}\n"


def test_retry_asks_again_on_a_finished_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve_site(SiteConfig(source="scenes", num_pictures=3, image_size=16, slow_seconds=0.1)) as site:
        command = [
            "ingest",
            site.url,
            "--output-dir",
            str(tmp_path / "ds"),
            "--image-size",
            "16",
            "--allow-private",
            "localhost",
        ]
        assert run([*command, "--no-prefect", "--retries", "0"]) == 0
        first = read_manifest(tmp_path / "ds")
        assert first.counts["rejected:http_5xx"] >= 1
        capsys.readouterr()
        assert run([*command, "--retry", "http_5xx", "--retries", "0"]) == 0
        assert capsys.readouterr().out.startswith(f"{tmp_path / 'ds'}: done in part (kept {first.counts['kept']}, ")
        assert read_manifest(tmp_path / "ds").digest == first.digest
        assert run([*command, "--retry", "dns"]) == 0
        assert capsys.readouterr().out.startswith(f"{tmp_path / 'ds'}: already done in part (")


@pytest.mark.parametrize(
    "command", ["ingest x", "caption x", "train x", "evaluate x", "generate x --prompt a", "demo", "pipeline"]
)
def test_a_store_is_refused_as_the_folder_to_write(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert run([*command.split(), "--output-dir", "s3://bucket/set"]) == 2
    assert "address of a store" in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []
