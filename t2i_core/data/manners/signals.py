"""What the owner of a page or picture asks for, in headers and marks."""

import re
from collections.abc import Iterable

from t2i_core import __version__

PRODUCT_TOKEN = "t2i"
OPT_OUT_DIRECTIVES = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none", "noml"})
NO_FOLLOW_DIRECTIVES = frozenset({"nofollow", "none"})
# Directives with a value of their own: their colon does not name an agent.
_VALUED_DIRECTIVE = re.compile(r"unavailable_after|max-[a-z-]+", re.IGNORECASE)
_AGENT_PREFIX = re.compile(r"\s*([A-Za-z0-9_.*-]+)(?:/[A-Za-z0-9_.-]*)?\s*:\s*(.*)", re.DOTALL)
_SIGNAL = re.compile(r"[a-z][a-z-]{0,40}(:\s?[a-z0-9-]{1,40})?")
MAX_SIGNALS = 20


def user_agent(contact: str) -> str:
    """Give the honest name that every request carries.

    Args:
        contact: an address or page where a site's owner can complain, "" for none.
    """
    about = "text-to-image dataset builder" + (f"; +{contact}" if contact else "")
    return f"{PRODUCT_TOKEN}/{__version__} ({about})"


def directives_for_us(values: Iterable[str]) -> set[str]:
    """Collect the directives of X-Robots-Tag headers that are meant for every agent or for this one.

    An item `agent: directive` starts a list for that agent, which runs to the end of its header, except that an item
    that is an opt-out of its own right before any agent counts for all.
    """
    found: set[str] = set()
    for value in values:
        applies = True
        for raw in value.split(","):
            item = raw
            match = _AGENT_PREFIX.match(raw)
            if match and not _VALUED_DIRECTIVE.fullmatch(match[1]):
                applies = match[1].lower() in ("*", PRODUCT_TOKEN)
                item = match[2]
            if applies:
                found.add(item.strip().lower())
    return found


def signals_text(directives: Iterable[str]) -> str:
    """Spell directives as one text to store: sorted, separated by commas.

    Dates, and whatever else is no directive, are left out: they may differ from answer to answer.
    """
    return ",".join(sorted(filter(_SIGNAL.fullmatch, directives))[:MAX_SIGNALS])


def opts_out(directives: Iterable[str]) -> bool:
    """Tell whether directives forbid to use a picture for a dataset."""
    return not OPT_OUT_DIRECTIVES.isdisjoint(directives)
