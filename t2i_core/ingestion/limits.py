"""How large a share of the sources may be rejected for one reason, before an ingest counts as failed."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from t2i_core.data.counts import Counts
from t2i_core.data.reject import RejectReason
from t2i_core.errors import ConfigError, DataError, did_you_mean


def parse_limits(entries: Iterable[str]) -> dict[RejectReason, float]:
    """Read limits such as "timeout=0.1": at most a tenth of the sources.

    Raises:
        ConfigError: a reason is unknown, or a share is none.
    """
    return dict(map(_parse, entries))


def _parse(entry: str) -> tuple[RejectReason, float]:
    name, _, text = entry.partition("=")
    name, known = name.strip().lower(), list(map(str, RejectReason))
    if name not in known:
        raise ConfigError(f"there is no reason {name[:80]!r}{did_you_mean(name, known)}; choose of {', '.join(known)}.")
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ConfigError(f"the limit {entry[:80]!r} is no share of the sources: write {name}=0.1 for a tenth of them.")
    return RejectReason(name), share


def require_few_rejects(counts: Mapping[str, int], limits: Iterable[str], source: str, folder: Path) -> None:
    """Refuse a finished dataset that lacks more than a limit allows; what it holds stays.

    Raises:
        DataError: of the first limit that does not hold; the message says how to go on.
    """
    rejected = Counts.read(counts).rejected
    for reason, share in parse_limits(limits).items():
        number, seen = rejected.get(reason, 0), counts.get("seen", 0)
        if number > share * seen:
            retry = f"The same command with --retry {reason} asks for them again. " * reason.may_pass
            raise DataError(
                f"{number:,} of {seen:,} sources of {source} ({number / seen:.1%}) were rejected as {reason} "
                f"({reason.meaning}), more than the {share:.1%} of max_reject_share. Nothing is lost: {folder} is "
                f"finished. {retry}A larger limit takes it as it is."
            )
