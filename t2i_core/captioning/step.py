"""The caption step: from the raw text beside each picture to clean, filtered, split and tokenized captions.

The raw text is kept beside the clean one, and what is left out stays in the table with its reason. Which pictures show
the same is marked in the dataset. Near duplicates stay unless it is asked for: of small synthetic pictures, many that
look alike are not the same (two scenes differ by a few pixels, two emoji by a skin tone).
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from t2i_core.captioning.config import CaptionConfig, caption_key
from t2i_core.captioning.copies import Copies
from t2i_core.captioning.drafting import SOURCE_RULES_BY_NAME, Drafts
from t2i_core.captioning.joined import named_datasets, open_parts, read_marks, with_joint_groups
from t2i_core.captioning.report import build_report, render_report
from t2i_core.captioning.rules import MAX_RAW_CHARACTERS, RULES_BY_NAME, clean
from t2i_core.captioning.samples import Sample
from t2i_core.captioning.shortage import explain_shortage
from t2i_core.captioning.split import choose_split
from t2i_core.data.batches.captions import CAPTIONS_NAME, CaptionRow, SplitName, write_captions
from t2i_core.data.batches.location import input_name
from t2i_core.data.batches.tokenizer import TOKENIZER_NAME, Tokenizer
from t2i_core.data.bounded.disk import tells_disk_errors
from t2i_core.data.mark import DuplicateKind
from t2i_core.errors import DataError
from t2i_core.folders.atomic import staged_folder, write_atomically
from t2i_core.folders.claim import OnConflict, claim_folder
from t2i_core.folders.hits import find_hit
from t2i_core.folders.manifest import StepRef, describe_file, relative_source, write_manifest
from t2i_core.folders.one_writer import writes_alone
from t2i_core.progress import OnProgress, Progress, ignore_progress

# Of captions that many pictures share, as short ones are, the cleaned form is remembered.
MAX_REMEMBERED_CHARS, MAX_REMEMBERED = 200, 100_000
PROGRESS_EVERY = 10_000
REPORT_NAME, REPORT_PAGE_NAME = "report.json", "report.html"


class CaptionReason(StrEnum):
    """Why a sample is left out."""

    UNREADABLE = "unreadable"
    EMPTY = "empty"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    BOILERPLATE = "boilerplate"
    PLACEHOLDER_PICTURE = "placeholder_picture"
    DUPLICATE_PICTURE = "duplicate_picture"
    NEAR_DUPLICATE_PICTURE = "near_duplicate_picture"
    TOO_FREQUENT = "too_frequent"


@tells_disk_errors
@writes_alone
def caption(
    dataset_dir: Path,
    config: CaptionConfig,
    output_dir: Path,
    *,
    joined_with: tuple[str, ...] = (),
    on_conflict: OnConflict = "refuse",
    on_progress: OnProgress = ignore_progress,
) -> StepRef:
    """Clean, filter, split and tokenize the captions of a dataset, or of several joined into one.

    Args:
        dataset_dir: a finished dataset; only its parquet sidecars and its marks of duplicates are read.
        config: how they are cleaned, filtered, split and tokenized.
        output_dir: the captions folder; made anew unless it is already there, from the same data and config.
        joined_with: other finished datasets, with one vocabulary and one split for all, and no copy of a picture kept
            twice; NAME=FOLDER names one, which else is called as its folder is. Their order changes nothing.
        on_conflict: what to do with a folder that holds other work.
        on_progress: gets the number of captions cleaned.

    Raises:
        ConfigError: the dataset is not one, two have one name or are the same, or `output_dir` holds other work.
        DataError: a sidecar is damaged, or nothing is left to train on.
        TransientError: another process is writing `output_dir`.
    """
    parts = open_parts(named_datasets(dataset_dir, joined_with))
    key = caption_key({input_name(part.name): part.manifest.digest for part in parts}, config)
    hit = find_hit(output_dir, key)
    if hit:
        return hit
    samples, marks = [sample for part in parts for sample in part.samples()], list(read_marks(parts))
    samples = with_joint_groups(samples, marks) if len(parts) > 1 else samples
    changes: Counter[str] = Counter()
    copies = Copies(marks, _dropped_kinds(config))
    drafts = list(_judge(samples, copies, config, changes, on_progress))
    tokenizer = _train_tokenizer(drafts, config)
    num_words = {text: len(tokenizer.words(text)) for text in {draft.text for draft in drafts}}
    rows = [_row(draft, num_words[draft.text] + 1, tokenizer.context_length) for draft in drafts]
    report = build_report(rows, tokenizer, {name: changes[name] for name in (*config.source_rules, *config.rules)})
    claim_folder(output_dir, key, on_conflict)
    with staged_folder(output_dir) as stage:
        write_captions(stage / CAPTIONS_NAME, rows)
        tokenizer.save(stage / TOKENIZER_NAME)
        write_atomically(
            stage / REPORT_NAME, json.dumps(report.as_dict(), indent=2, ensure_ascii=False).encode() + b"\n"
        )
        write_atomically(stage / REPORT_PAGE_NAME, render_report(report).encode())
        ref = write_manifest(
            stage,
            kind="captions",
            key=key,
            sources={input_name(part.name): relative_source(part.folder, output_dir) for part in parts},
            counts=report.counts,
            files=[describe_file(stage, path) for path in sorted(stage.iterdir())],
        )
    return ref.with_changes(path=output_dir)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A sample with its clean caption, its split, and the reason for leaving it out, if any."""

    sample: Sample
    text: str
    split: SplitName
    reason: CaptionReason | None


def _judge(
    samples: Sequence[Sample], copies: Copies, config: CaptionConfig, changes: Counter[str], on_progress: OnProgress
) -> Iterator[_Draft]:
    """Draft, clean and filter every sample, in order; `changes` counts the captions that each rule changed."""
    drafts = Drafts(samples, [SOURCE_RULES_BY_NAME[name] for name in config.source_rules], config.drafting())
    rules = [RULES_BY_NAME[name] for name in config.rules]
    clean_once = lru_cache(MAX_REMEMBERED)(lambda text: clean(text, rules))
    filters = _Filters(config, copies)
    for done, sample in enumerate(samples):
        if done % PROGRESS_EVERY == 0:
            on_progress(Progress(step="caption", done=done, total=len(samples), unit="captions"))
        draft = drafts.draft(sample)
        cleaned = clean_once(draft.text) if len(draft.text) <= MAX_REMEMBERED_CHARS else clean(draft.text, rules)
        changes.update(draft.changed_by | cleaned.changed_by)
        reason = CaptionReason.UNREADABLE if cleaned.failed else filters.judge(sample, cleaned.text)
        yield _Draft(sample, cleaned.text, _split_of(sample, config), reason)
    on_progress(Progress(step="caption", done=len(samples), total=len(samples), unit="captions"))


def _split_of(sample: Sample, config: CaptionConfig) -> SplitName:
    if config.given_splits and sample.split:
        return sample.split
    shares = {"validation_share": config.validation_share, "test_share": config.test_share}
    return choose_split(sample.group, seed=config.split_seed, **shares)


def _dropped_kinds(config: CaptionConfig) -> set[DuplicateKind]:
    """Say which marks make a picture a copy; a placeholder that stays is a picture like any other."""
    exact = {DuplicateKind.EXACT, DuplicateKind.PLACEHOLDER} if config.drop_duplicates else set()
    return exact | ({DuplicateKind.NEAR} if config.drop_near_duplicates else set())


class _Filters:
    """Decides what is left out; remembers what it kept, so that the first of equal samples stays."""

    def __init__(self, config: CaptionConfig, copies: Copies) -> None:
        self._config = config
        self._copies = copies
        self._boilerplate = {text.casefold() for text in config.boilerplate}
        self._pictures: set[str] = set()
        self._captions: Counter[str] = Counter()

    def judge(self, sample: Sample, text: str) -> CaptionReason | None:
        """Give the first reason against a sample, or None."""
        reason = self._about_text(sample, text) or self._about_repeats(sample, text)
        if reason is None:
            self._pictures.add(self._copies.first_of(sample.key))
            self._captions[text] += 1
        return reason

    def _about_text(self, sample: Sample, text: str) -> CaptionReason | None:
        limits, num_words = self._config, len(text.split())
        if not text:
            return CaptionReason.EMPTY
        if (
            len(sample.caption) > MAX_RAW_CHARACTERS
            or len(text) > limits.max_characters
            or num_words > limits.max_words
        ):
            return CaptionReason.TOO_LONG
        if len(text) < limits.min_characters or num_words < limits.min_words:
            return CaptionReason.TOO_SHORT
        found = {text.casefold(), *([sample.caption.strip().casefold()] if limits.source_rules else [])}
        return CaptionReason.BOILERPLATE if found & self._boilerplate else None

    def _about_repeats(self, sample: Sample, text: str) -> CaptionReason | None:
        kind = self._copies.kind_of(sample.key)
        if kind is DuplicateKind.PLACEHOLDER and self._config.drop_placeholders:
            return CaptionReason.PLACEHOLDER_PICTURE
        if self._copies.first_of(sample.key) in self._pictures:
            near = kind is DuplicateKind.NEAR
            return CaptionReason.NEAR_DUPLICATE_PICTURE if near else CaptionReason.DUPLICATE_PICTURE
        limit = self._config.max_same_caption
        return CaptionReason.TOO_FREQUENT if limit and self._captions[text] >= limit else None


def _train_tokenizer(drafts: Sequence[_Draft], config: CaptionConfig) -> Tokenizer:
    """Learn the vocabulary from the training split alone.

    Raises:
        DataError: the training split is empty.
    """
    kept = [draft for draft in drafts if draft.reason is None]
    texts = [draft.text for draft in kept if draft.split == "train"]
    if not texts:
        reasons = Counter(draft.reason.value for draft in drafts if draft.reason)
        raise DataError(explain_shortage(len(drafts), len(kept), reasons))
    return Tokenizer.train(texts, config.vocab_size, config.context_length)


def _row(draft: _Draft, num_tokens: int, context_length: int) -> CaptionRow:
    sample = draft.sample
    return CaptionRow(
        key=sample.key,
        shard=sample.shard,
        uid=sample.uid,
        caption_raw=sample.caption,
        caption=draft.text,
        split=draft.split,
        status="rejected" if draft.reason else "kept",
        reason=draft.reason.value if draft.reason else "",
        num_tokens=num_tokens,
        truncated=num_tokens > context_length,
        group=sample.group,
        attributes=sample.attributes,
        width=sample.width,
        height=sample.height,
    )
