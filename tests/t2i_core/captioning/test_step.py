"""The caption step: rules, filters, splits, report and folder, on tiny data sets made by hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from time import process_time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2i_core.captioning.config import CaptionConfig, caption_key
from t2i_core.captioning.rules import RULES, RULES_BY_NAME, CaptionRule, clean
from t2i_core.captioning.shortage import ADVICE
from t2i_core.captioning.split import choose_split
from t2i_core.captioning.step import CaptionReason, caption
from t2i_core.data.batches.tokenizer import Tokenizer
from t2i_core.data.dataset.duplicates import write_duplicates
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.manifest import StepKey, StepRef, describe_file, read_manifest, write_manifest
from t2i_core.progress import Progress
from t2i_core.samples.emoji import named_emoji
from t2i_core.samples.scenes import caption_scene, make_scene, pick_wording
from t2i_core.samples.site_pictures import MESSY_EVERY, mess_up

Row = dict[str, Any]

# ---------------------------------------------------------------------------------------------------------------- rules

# Text made of what the rules look for, so that examples are nasty rather than merely random.
FRAGMENTS = st.sampled_from(
    ["<b>", "</b>", "<", ">", "<!--", "-->", "&amp;", "&lt;", "b&gt;", "&", ";", "<person>", "http://x.org", "www.",
     " ", "\n", "\u00a0", "\u200b", "\u202e", "\ufeff", "\u00c3\u00a9", "\u00e2\u20ac\u2122", "\u0301", "e", "\u0958",
     "\u201c", "\u2019", "\u2014", ".", ",", "-", "_", "red", "\U0001f468\u200d\U0001f680", "\x00", "\ud800"]
)  # fmt: skip
TEXTS = st.one_of(st.lists(FRAGMENTS, max_size=14).map("".join), st.text(max_size=40))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@given(text=TEXTS)
def test_each_rule_is_idempotent(rule: CaptionRule, text: str) -> None:
    once = rule.apply(text)
    assert rule.apply(once) == once


@given(text=TEXTS, order=st.permutations(RULES))
def test_any_chain_is_idempotent(text: str, order: Sequence[CaptionRule]) -> None:
    once = clean(text, order).text
    assert clean(once, order).text == once
    assert clean(once, order).changed_by == frozenset()


# "I want", with a joiner that the spelling needs.
PERSIAN = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"


@pytest.mark.parametrize(
    ("rule", "raw", "expected"),
    [
        ("fix_mojibake", "caf\u00c3\u00a9", "caf\u00e9"),
        ("fix_mojibake", "na\u00efve caf\u00e9", "na\u00efve caf\u00e9"),
        ("unescape_html", "salt &amp;amp; pepper &lt;3", "salt & pepper <3"),
        ("strip_html", "a <b class='x'>red</b> circle<br/>", "a  red  circle "),
        ("strip_html", "<person> holds 2 < 3 apples", "person holds 2 < 3 apples"),
        ("strip_html", "a<!-- <i>hidden --> circle", "a  circle"),
        ("unicode_nfc", "cafe\u0301", "caf\u00e9"),
        ("strip_controls", "a\u200b red\ufeff\x00 \u202ecircle\tx", "a red circle x"),
        ("strip_controls", PERSIAN, PERSIAN),
        ("strip_urls", "a cat https://x.org/cat.jpg?a=1 sits www.cats.com", "a cat   sits  "),
        ("collapse_whitespace", " a \n\u00a0 red\u3000circle ", "a red circle"),
        ("unify_quotes", "\u201cman\u2019s shoe\u201d", "\"man's shoe\""),
        ("unify_dashes", "medium\u2011dark \u2014 skin", "medium-dark - skin"),
        ("trim_punctuation", " - a cat., | ", "- a cat"),
        ("trim_punctuation", "keycap *", "keycap *"),
    ],
)  # fmt: skip
def test_rules_known_by_hand(rule: str, raw: str, expected: str) -> None:
    assert RULES_BY_NAME[rule].apply(raw) == expected


def test_one_rule_can_uncover_work_for_an_earlier_one() -> None:
    # Unescaping comes before the tags are stripped, but the zero-width space hides the entity until later.
    cleaned = clean("red &am\u200bp;lt;b&gt; circle", RULES)
    assert cleaned.text == "red circle"
    assert cleaned.changed_by == {"unescape_html", "strip_html", "strip_controls", "collapse_whitespace"}


def test_other_scripts_survive() -> None:
    for text in ("赤い円", "красный круг", "दो लाल वृत्त", "1234567 lights", "C++ & C#", "Ünïcödé"):
        assert clean(text, RULES).text == text


def test_mess_of_the_built_in_site_is_cleaned_away() -> None:
    for turn in range(5):
        index = turn * MESSY_EVERY
        tidy = caption_scene(make_scene(0, index), pick_wording(0, index))
        assert mess_up(tidy, index) != tidy
        assert clean(mess_up(tidy, index), RULES).text == tidy


def test_scene_captions_and_emoji_names_are_clean_already() -> None:
    tidy = [caption_scene(make_scene(0, i), pick_wording(0, i)) for i in range(300)]
    assert all(clean(text, RULES).text == text for text in tidy)
    names = [
        item.caption.replace("\u2019", "'").replace("\u201c", '"').replace("\u201d", '"') for item in named_emoji()
    ]
    assert [name for name in names if clean(name, RULES).text != name] == []


# --------------------------------------------------------------------------------------------------------------- splits


def test_split_shares_are_kept_and_seeds_differ() -> None:
    groups = [f"group {i}" for i in range(20_000)]
    splits = [choose_split(group, seed=0, validation_share=0.05, test_share=0.10) for group in groups]
    assert splits.count("validation") / 20_000 == pytest.approx(0.05, abs=0.006)
    assert splits.count("test") / 20_000 == pytest.approx(0.10, abs=0.008)
    assert splits != [choose_split(group, seed=1, validation_share=0.05, test_share=0.10) for group in groups]


def test_split_of_a_group_never_changes() -> None:
    # A literal: other splits would leak the test pictures of earlier runs into training.
    names = ["red circle on gray", "blue square on pink", "thumbs up", "a", "b", "c"]
    splits = [choose_split(name, seed=0, validation_share=0.3, test_share=0.3) for name in names]
    assert splits == ["validation", "validation", "train", "test", "train", "train"]


# What rules and their libraries take worst: nothing closes, each step uncovers one more, marks out of order.
NASTY = ["\u00c3\u0192\u20ac", "\u00c3\u0192\xa0", "\u00c3\u0192\u00c6\u2019\x99", "<!--", "<!--a", "<b ", "<", "&lt;",
         "&#38;", "&ampamp;", "\u0300\u0316", "http://", "www.", "\x92", "\u00e2\u20ac\u2122 ", "-->", "a"]  # fmt: skip


def cpu_seconds(text: str, repeats: int) -> float:
    """Give the processor time that cleaning takes, the least of some tries."""
    times = []
    for _ in range(repeats):
        started = process_time()
        clean(text, RULES)
        times.append(process_time() - started)
    return min(times)


@pytest.mark.parametrize("filling", NASTY)
def test_time_to_clean_grows_no_faster_than_the_text(filling: str) -> None:
    short, long = (cpu_seconds((filling * size)[:size], repeats) for size, repeats in ((512, 5), (4096, 2)))
    # Eight times the text may take eight times as long, and not its square, 64 times.
    assert long / max(short, 1e-4) < 24


@pytest.mark.parametrize("digits", ["9" * 5000, "0" * 5000 + "65"])
def test_a_number_of_thousands_of_digits_is_no_character(digits: str) -> None:
    assert RULES_BY_NAME["unescape_html"].apply(f"a&#{digits};b &#65; &amp;") == "a\ufffdb A &"


def test_a_rule_that_fails_rejects_one_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fussy = CaptionRule("ascii", "refuse what is not ASCII", lambda text: text.encode("ascii").decode())
    monkeypatch.setitem(RULES_BY_NAME, "ascii", fussy)
    rows = [_row(0, "a cat"), _row(1, "caf\u00e9"), _row(2, f"&#{'9' * 5000}"), _row(3, "a dog")]
    config = ALL_TRAIN.with_changes(rules=("unescape_html", "ascii"))
    ref = caption(_dataset(tmp_path / "dataset", rows), config, tmp_path / "captions")
    assert [row["reason"] for row in _table(ref)] == ["", "unreadable", "unreadable", ""]
    assert (ref.counts["kept"], ref.counts["rejected:unreadable"]) == (2, 2)


def test_a_group_that_is_no_text_that_can_be_stored(tmp_path: Path) -> None:
    rows = [_row(0, "a cat", attributes='{"group": "\\ud800"}')]
    ref = caption(_dataset(tmp_path / "dataset", rows), ALL_TRAIN, tmp_path / "captions")
    assert [row["group"] for row in _table(ref)] == ["?"]


# ----------------------------------------------------------------------------------------------------------------- step


SAMPLES_PER_SHARD = 10_000
SAME = "5" * 64


def _row(index: int, text: str | None, **changes: Any) -> Row:
    row: Row = {
        "url": f"http://example.org/{index}.png",
        "key": f"{index:09d}",
        "uid": f"uid{index}",
        "caption": text,
        "status": "success",
        "reason": "",
        "sha256": f"{index + 1:016x}{0:048x}",
        "phash": f"{0:016x}",
        "attributes": "{}",
    }
    return row | changes


def _dataset(folder: Path, *shards: list[Row]) -> Path:
    (folder / "shards").mkdir(parents=True)
    for number, rows in enumerate(shards):
        pq.write_table(pa.Table.from_pylist(rows), folder / "shards" / f"{number:05d}.parquet")
    write_duplicates(folder, dict.fromkeys(range(len(shards)), folder / "shards"), SAMPLES_PER_SHARD)
    return _finish(folder)


def _finish(folder: Path) -> Path:
    files = [describe_file(folder, path) for path in sorted(folder.rglob("*.parquet"))]
    key = StepKey(step="ingest", version=1, config={}, inputs={"source": "by hand"})
    write_manifest(folder, kind="dataset", key=key, sources={}, counts={}, files=files)
    return folder


def _scene_rows(num: int) -> list[Row]:
    rows = []
    for i in range(num):
        scene = make_scene(0, i)
        attributes = {"group": scene.combination, "scene": scene.model_dump()}
        rows.append(_row(i, caption_scene(scene), attributes=json.dumps(attributes)))
    return rows


def _table(ref: StepRef) -> list[Row]:
    rows: list[Row] = pq.read_table(ref.path / "captions.parquet").to_pylist()
    return rows


ALL_TRAIN = CaptionConfig(validation_share=0, test_share=0)


def test_folder_has_every_picture_with_its_raw_and_clean_caption(tmp_path: Path) -> None:
    first = [_row(1, "a <b>red</b> circle"), _row(0, "a blue cross", attributes='{"n": 1}')]
    second = [_row(2, "gone", status="failed_to_download"), _row(3, " A cat. ")]
    ref = caption(_dataset(tmp_path / "dataset", first, second), ALL_TRAIN, tmp_path / "captions")
    rows = _table(ref)
    assert [(row["key"], row["shard"]) for row in rows] == [("000000000", 0), ("000000001", 0), ("000000003", 1)]
    assert [row["caption_raw"] for row in rows] == ["a blue cross", "a <b>red</b> circle", " A cat. "]
    assert [row["caption"] for row in rows] == ["a blue cross", "a red circle", "A cat"]
    assert [row["num_tokens"] for row in rows] == [4, 4, 3]
    assert rows[0]["attributes"] == '{"n": 1}' and rows[0]["group"] == "uid0"
    assert ref.kind == "captions" and ref.path == tmp_path / "captions" and not ref.hit
    assert sorted(path.name for path in ref.path.iterdir()) == [
        "captions.parquet", "manifest.json", "report.html", "report.json", "tokenizer.json",
    ]  # fmt: skip


def test_types_of_the_table(tmp_path: Path) -> None:
    ref = caption(_dataset(tmp_path / "dataset", [_row(0, "a cat")]), ALL_TRAIN, tmp_path / "captions")
    types = {field.name: str(field.type) for field in pq.read_schema(ref.path / "captions.parquet")}
    assert types == {
        "key": "string", "shard": "int32", "uid": "string", "caption_raw": "string", "caption": "string",
        "split": "string", "status": "string", "reason": "string", "num_tokens": "int32", "truncated": "bool",
        "group": "string", "attributes": "string", "width": "int32", "height": "int32",
    }  # fmt: skip


def test_every_filter_has_its_reason_and_all_are_counted(tmp_path: Path) -> None:
    rows = [
        _row(0, "a fine cat", sha256=SAME),
        _row(1, None),
        _row(2, " <p> </p> "),
        _row(3, "x"),
        _row(4, "one two three four five six"),
        _row(5, "w" * 30_000),
        _row(6, "Untitled"),
        _row(7, "the same cat again", sha256=SAME),
        _row(8, "a fine cat"),
        _row(9, "a fine cat"),
    ]
    config = ALL_TRAIN.with_changes(max_words=5, max_same_caption=2)
    ref = caption(_dataset(tmp_path / "dataset", rows), config, tmp_path / "captions")
    reasons = [row["reason"] for row in _table(ref)]
    assert reasons == [
        "", "empty", "empty", "too_short", "too_long", "too_long", "boilerplate", "duplicate_picture", "",
        "too_frequent",
    ]  # fmt: skip
    assert [row["status"] for row in _table(ref)] == ["rejected" if reason else "kept" for reason in reasons]
    assert {name: ref.counts[name] for name in ("seen", "kept", "rejected")} == {"seen": 10, "kept": 2, "rejected": 8}
    rejected = {name: number for name, number in ref.counts.items() if name.startswith("rejected:")}
    assert rejected == {
        "rejected:empty": 2, "rejected:too_short": 1, "rejected:too_long": 2, "rejected:boilerplate": 1,
        "rejected:duplicate_picture": 1, "rejected:too_frequent": 1,
    }  # fmt: skip


def test_picture_whose_first_caption_was_empty_is_kept_with_its_second(tmp_path: Path) -> None:
    rows = [_row(0, "", sha256=SAME), _row(1, "a cat", sha256=SAME), _row(2, "cat", sha256=SAME)]
    ref = caption(_dataset(tmp_path / "dataset", rows), ALL_TRAIN, tmp_path / "captions")
    assert [row["reason"] for row in _table(ref)] == ["empty", "", "duplicate_picture"]


def test_no_group_is_in_two_splits_and_training_alone_makes_the_vocabulary(tmp_path: Path) -> None:
    config = CaptionConfig(validation_share=0.2, test_share=0.2)
    ref = caption(_dataset(tmp_path / "dataset", _scene_rows(600)), config, tmp_path / "captions")
    rows = _table(ref)
    groups = {name: {row["group"] for row in rows if row["split"] == name} for name in ("train", "validation", "test")}
    assert all(groups.values())
    assert sum(map(len, groups.values())) == len({row["group"] for row in rows})
    assert len(rows) == sum(ref.counts[name] for name in groups) == ref.counts["kept"] == 600
    trained = {word for row in rows if row["split"] == "train" for word in row["caption"].split()}
    tokenizer = Tokenizer.load(ref.path / "tokenizer.json")
    assert tokenizer.vocab_size == len(trained) + 3 == ref.counts["vocabulary"]


def test_the_split_that_a_source_names_is_kept_only_when_it_is_asked_for(tmp_path: Path) -> None:
    splits = ["test", "validation", "train", "elsewhere", 3, None] * 20
    rows = [_row(i, f"picture {i}", attributes=json.dumps({"split": split})) for i, split in enumerate(splits)]
    dataset = _dataset(tmp_path / "data", rows)
    given = _table(caption(dataset, CaptionConfig(given_splits=True, test_share=0), tmp_path / "given"))
    hashed = _table(caption(dataset, CaptionConfig(test_share=0), tmp_path / "hashed"))
    named = [row["split"] for row, split in zip(given, splits, strict=True) if split in ("test", "validation", "train")]
    assert named == [split for split in splits if split in ("test", "validation", "train")]
    rest = [(a["split"], b["split"]) for a, b, split in zip(given, hashed, splits, strict=True) if split in (3, None)]
    assert all(a == b != "test" for a, b in rest)
    assert {row["split"] for row in hashed} == {"train", "validation"}


def test_the_option_of_given_splits_leaves_other_keys_as_they_were() -> None:
    assert "given_splits" not in caption_key({}, CaptionConfig()).config
    assert caption_key({}, CaptionConfig(given_splits=True)).config["given_splits"] is True


def test_words_that_training_never_saw_are_counted(tmp_path: Path) -> None:
    groups = {choose_split(f"g{i}", seed=0, validation_share=0.3, test_share=0.3): f"g{i}" for i in range(40)}
    texts = {"train": "red cat", "validation": "red zebra", "test": "blue zebra"}
    rows = [_row(i, texts[name], attributes=json.dumps({"group": groups[name]})) for i, name in enumerate(groups)]
    config = CaptionConfig(validation_share=0.3, test_share=0.3)
    ref = caption(_dataset(tmp_path / "dataset", rows), config, tmp_path / "captions")
    report = json.loads((ref.path / "report.json").read_text())
    assert report["unknown_words"] == {"zebra": 2, "blue": 1}
    assert ref.counts["unknown_words"] == 2


def test_report_counts_rules_lengths_and_truncation(tmp_path: Path) -> None:
    rows = [_row(0, "a <b>red</b> cat"), _row(1, "a &lt;i&gt;red&lt;/i&gt; dog"), _row(2, "one two three four five")]
    config = ALL_TRAIN.with_changes(context_length=5)
    ref = caption(_dataset(tmp_path / "dataset", rows), config, tmp_path / "captions")
    report = json.loads((ref.path / "report.json").read_text())
    changed = {rule["name"]: rule["changed"] for rule in report["rules"] if rule["changed"]}
    assert changed == {"unescape_html": 1, "strip_html": 2, "collapse_whitespace": 2}
    assert report["lengths"] == {"4": 2, "6": 1}
    assert report["truncation_rate"] == pytest.approx(1 / 3)
    assert [row["truncated"] for row in _table(ref)] == [False, False, True]
    assert list(report["frequent_words"])[:2] == ["a", "red"]
    assert report["examples"][0] == {"raw": "a <b>red</b> cat", "caption": "a red cat"}


def test_report_page_is_whole_and_escapes_what_it_shows(tmp_path: Path) -> None:
    rows = [_row(0, "a <b onclick=alert(1)>red</b> cat"), _row(1, "<script>alert(2)</script> dog"), _row(2, None)]
    ref = caption(_dataset(tmp_path / "dataset", rows), ALL_TRAIN, tmp_path / "captions")
    page = (ref.path / "report.html").read_text()
    assert "<script" not in page and "<b " not in page and "&lt;b onclick" in page
    assert "http://" not in page and "https://" not in page and "src=" not in page
    assert "<svg" in page and "empty" in page and 'name="viewport"' in page


def test_rules_are_chosen_and_ordered_by_the_config(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path / "dataset", [_row(0, " a <b>cat</b> ")])
    ref = caption(dataset, ALL_TRAIN.with_changes(rules=("collapse_whitespace",)), tmp_path / "captions")
    assert _table(ref)[0]["caption"] == "a <b>cat</b>"


def test_same_input_gives_the_same_bytes_and_other_options_another_digest(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path / "dataset", _scene_rows(50))
    one = caption(dataset, CaptionConfig(), tmp_path / "one")
    two = caption(dataset, CaptionConfig(), tmp_path / "elsewhere" / "two")
    for name in ("captions.parquet", "tokenizer.json", "report.json", "report.html"):
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes()
    assert one.digest == two.digest
    assert caption(dataset, CaptionConfig(split_seed=1), tmp_path / "three").digest != one.digest
    assert read_manifest(two.path).sources == {"dataset": "../../dataset"}


def test_second_run_is_a_hit_and_a_lost_file_is_made_again(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path / "dataset", _scene_rows(50))
    first = caption(dataset, CaptionConfig(), tmp_path / "captions")
    again = caption(dataset, CaptionConfig(), tmp_path / "captions")
    assert again.hit and again.digest == first.digest and again.counts == first.counts
    (first.path / "tokenizer.json").unlink()
    repaired = caption(dataset, CaptionConfig(), tmp_path / "captions")
    assert not repaired.hit and repaired.digest == first.digest
    assert (first.path / "tokenizer.json").is_file()


def test_other_work_is_refused_or_replaced(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path / "dataset", _scene_rows(50))
    first = caption(dataset, CaptionConfig(), tmp_path / "captions")
    other = CaptionConfig(split_seed=1)
    with pytest.raises(ConfigError, match=r"split_seed was 0, now 1.*--replace .*captions\.previous"):
        caption(dataset, other, tmp_path / "captions")
    assert caption(dataset, CaptionConfig(), tmp_path / "captions").hit
    replaced = caption(dataset, other, tmp_path / "captions", on_conflict="replace")
    assert replaced.digest != first.digest
    assert read_manifest(tmp_path / "captions.previous").digest == first.digest


def test_progress_reaches_the_total(tmp_path: Path) -> None:
    reports: list[Progress] = []
    dataset = _dataset(tmp_path / "dataset", _scene_rows(5))
    caption(dataset, ALL_TRAIN, tmp_path / "captions", on_progress=reports.append)
    assert [(report.done, report.total, report.unit) for report in reports] == [(0, 5, "captions"), (5, 5, "captions")]


# ------------------------------------------------------------------------------------------------------------ bad input


def test_folder_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for folder in (tmp_path / "raw", tmp_path / "missing"):
        with pytest.raises(ConfigError):
            caption(folder, CaptionConfig(), tmp_path / "captions")
    dataset = _dataset(tmp_path / "dataset", _scene_rows(30))
    captions = caption(dataset, CaptionConfig(), tmp_path / "captions").path
    with pytest.raises(ConfigError, match="holds a captions, not a dataset"):
        caption(captions, CaptionConfig(), tmp_path / "more")


def test_lost_and_damaged_sidecars_are_named(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path / "dataset", _scene_rows(30), _scene_rows(30))
    first = caption(dataset, CaptionConfig(), tmp_path / "kept")
    sidecar = dataset / "shards" / "00001.parquet"
    size = sidecar.stat().st_size
    sidecar.write_bytes(bytes(size))
    with pytest.raises(DataError, match=r"00001\.parquet cannot be read"):
        caption(dataset, CaptionConfig(split_seed=1), tmp_path / "kept", on_conflict="replace")
    sidecar.unlink()
    with pytest.raises(DataError, match=r"00001\.parquet is missing"):
        caption(dataset, CaptionConfig(split_seed=1), tmp_path / "kept", on_conflict="replace")
    assert read_manifest(tmp_path / "kept").digest == first.digest


def test_sidecar_without_a_column_is_refused(tmp_path: Path) -> None:
    row = _row(0, "a cat")
    dataset = _dataset(tmp_path / "dataset", [row])
    del row["uid"]
    pq.write_table(pa.Table.from_pylist([row]), dataset / "shards/00000.parquet")
    _finish(dataset)
    with pytest.raises(DataError, match="no column uid"):
        caption(dataset, ALL_TRAIN, tmp_path / "captions")


def test_nothing_left_to_train_on_is_said_with_the_reasons(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path / "dataset", [_row(0, ""), _row(1, "logo")])
    with pytest.raises(DataError) as caught:
        caption(dataset, ALL_TRAIN, tmp_path / "captions")
    assert "the rules leave out all of 2 pictures (boilerplate 1, empty 1)" in str(caught.value)
    assert "for boilerplate: give --boilerplate the words" in str(caught.value)
    assert "for empty: give the pictures texts" in str(caught.value)
    assert not (tmp_path / "captions").exists()


def test_a_split_that_leaves_nothing_for_training_is_said(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path / "dataset", [_row(0, "a red circle")])
    shares = CaptionConfig(validation_share=0.5, test_share=0.5)
    with pytest.raises(DataError, match="of 1 pictures 1 are kept, and the split gives all of them to validation"):
        caption(dataset, shares, tmp_path / "captions")


def test_every_reason_has_an_advice() -> None:
    assert set(ADVICE) == {str(reason) for reason in CaptionReason}


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path / "dataset", [_row(0, "a red circle")])
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot write .*file/captions: not a directory\. A part of its path is"):
        caption(dataset, ALL_TRAIN, tmp_path / "file" / "captions")


@pytest.mark.parametrize("attributes", ["not json", "[1]", '{"group": 3}', '{"group": ""}', "", "9" * 5000])
def test_odd_attributes_fall_back_to_the_uid(tmp_path: Path, attributes: str) -> None:
    dataset = _dataset(tmp_path / "dataset", [_row(0, "a cat", attributes=attributes)])
    assert _table(caption(dataset, ALL_TRAIN, tmp_path / "captions"))[0]["group"] == "uid0"


@pytest.mark.parametrize(
    "changes", [{"rules": ["no_such_rule"]}, {"rules": ["strip_html", "strip_html"]}, {"colour": 1}, {"test_share": 2}]
)
def test_config_refuses_what_it_does_not_know(changes: Row) -> None:
    with pytest.raises(ConfigError, match="CaptionConfig"):
        CaptionConfig.parse(changes)
