"""What the caption step did, in figures: `report.json` for programs, `report.html` for people."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from markupsafe import Markup

from t2i_core.captioning.drafting import SOURCE_RULES_BY_NAME
from t2i_core.captioning.rules import RULES_BY_NAME
from t2i_core.data.batches.captions import SPLITS, CaptionRow, SplitName
from t2i_core.data.batches.location import dataset_of
from t2i_core.data.batches.tokenizer import Tokenizer
from t2i_core.data.counts import Counts
from t2i_core.report.charts import bar_chart
from t2i_core.report.page import render_page

NUM_WORDS = 60
NUM_UNKNOWN = 30
NUM_EXAMPLES = 12
MAX_BARS = 120


@dataclass(frozen=True, slots=True)
class RuleCount:
    """How many captions a rule changed."""

    name: str
    purpose: str
    changed: int


@dataclass(frozen=True, slots=True)
class Example:
    """A caption before and after cleaning."""

    raw: str
    caption: str


@dataclass(frozen=True, slots=True)
class CaptionReport:
    """Figures of a captions folder.

    Attributes:
        counts: seen = kept + rejected; rejects by reason, kept samples by split, size of the vocabulary.
        rules: in the order they were applied.
        lengths: kept captions by their number of tokens, [EOS] included, before cutting.
        context_length: tokens a caption may have.
        truncation_rate: share of kept captions that are cut, 0..1.
        frequent_words: the most frequent words of kept captions.
        unknown_words: words of validation and test captions that training never saw, with their counts.
        num_groups: groups by split; no group is in two.
        examples: some captions that the rules changed.
        datasets: kept captions by split of each of several datasets that were joined.
    """

    counts: dict[str, int]
    rules: list[RuleCount]
    lengths: dict[int, int]
    context_length: int
    truncation_rate: float
    frequent_words: dict[str, int]
    unknown_words: dict[str, int]
    num_groups: dict[str, int]
    examples: list[Example]
    datasets: dict[str, dict[str, int]]

    def as_dict(self) -> dict[str, Any]:
        """Give the report as plain data; one dataset is not told of by itself."""
        return {name: value for name, value in asdict(self).items() if name != "datasets" or value}


def build_report(rows: Sequence[CaptionRow], tokenizer: Tokenizer, rule_changes: Mapping[str, int]) -> CaptionReport:
    """Count what happened.

    Args:
        rows: all samples, kept or not; at least one is kept.
        tokenizer: learnt from the training split.
        rule_changes: captions changed by each rule, in the rules' order.
    """
    kept = [row for row in rows if row.status == "kept"]
    unknown = _count_words((row.caption for row in kept if row.split != "train"), tokenizer.unknown_words)
    groups = {split: {row.group for row in kept if row.split == split} for split in SPLITS}
    changed = dict.fromkeys(
        Example(row.caption_raw[:300], row.caption) for row in kept if row.caption != row.caption_raw
    )
    return CaptionReport(
        counts=_counts(rows, kept, tokenizer, unknown),
        rules=[RuleCount(name, _purpose(name), number) for name, number in rule_changes.items()],
        lengths=dict(sorted(Counter(row.num_tokens for row in kept).items())),
        context_length=tokenizer.context_length,
        truncation_rate=sum(row.truncated for row in kept) / len(kept),
        frequent_words=_most_frequent(_count_words((row.caption for row in kept), tokenizer.words), NUM_WORDS),
        unknown_words=_most_frequent(unknown, NUM_UNKNOWN),
        num_groups={split: len(members) for split, members in groups.items()},
        examples=_spread(list(changed)),
        datasets=_by_dataset(kept),
    )


def _purpose(rule: str) -> str:
    known = SOURCE_RULES_BY_NAME.get(rule) or RULES_BY_NAME[rule]
    return known.purpose


def _spread(examples: Sequence[Example]) -> list[Example]:
    """Take some from all over, for what stands together is often alike."""
    number = min(len(examples), NUM_EXAMPLES)
    return [examples[place * len(examples) // number] for place in range(number)]


def _by_dataset(kept: Iterable[CaptionRow]) -> dict[str, dict[str, int]]:
    splits: dict[str, Counter[SplitName]] = {}
    for row in kept:
        if name := dataset_of(row.key):
            splits.setdefault(name, Counter())[row.split] += 1
    return {name: {split: counts[split] for split in SPLITS} for name, counts in splits.items()}


def _counts(
    rows: Sequence[CaptionRow], kept: Sequence[CaptionRow], tokenizer: Tokenizer, unknown: Counter[str]
) -> dict[str, int]:
    reasons = Counter(row.reason for row in rows if row.status == "rejected")
    splits: Counter[SplitName] = Counter(row.split for row in kept)
    figures: dict[str, int] = {
        "seen": len(rows),
        "kept": len(kept),
        "rejected": len(rows) - len(kept),
        **{split: splits[split] for split in SPLITS},
        "vocabulary": tokenizer.vocab_size,
        "truncated": sum(row.truncated for row in kept),
        "unknown_words": len(unknown),
    }
    return Counts(figures, reasons).noted()


def _count_words(captions: Iterable[str], words_of: Callable[[str], list[str]]) -> Counter[str]:
    words: Counter[str] = Counter()
    for caption, repeats in Counter(captions).items():
        for word in words_of(caption):
            words[word] += repeats
    return words


def _most_frequent(words: Counter[str], limit: int) -> dict[str, int]:
    ranked = sorted(words.items(), key=lambda item: (-item[1], item[0]))
    return dict(ranked[:limit])


def render_report(report: CaptionReport) -> str:
    """Write the report as one self-contained HTML page."""
    rejects = Counts.read(report.counts).rejected
    return render_page(
        "t2i_core.captioning", "report.html.j2", report=report, rejects=rejects, lengths=_length_chart(report)
    )


def _length_chart(report: CaptionReport) -> Markup:
    """Draw how many captions have each length; the long ones share the last bar."""
    first = min(report.lengths)
    last = min(max(report.lengths), first + MAX_BARS - 1)
    numbers = [report.lengths.get(length, 0) for length in range(first, last)]
    numbers.append(sum(number for length, number in report.lengths.items() if length >= last))
    names = [str(length) for length in range(first, last + 1)]
    if max(report.lengths) > last:
        names[-1] += "+"
    bins = [f"{name} tokens" for name in names]
    ticks = {place + 0.5: name for place, name in enumerate(names)}
    return bar_chart({"captions": numbers}, bins, ticks, "", "captions")
