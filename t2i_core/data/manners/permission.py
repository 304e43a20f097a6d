"""May this be asked for? The deny-list, earlier refusals, robots.txt, tdmrep.json and ai.txt, in this order.

What needs no request comes first. A reservation in a site's file is final even though a header might lift it:
to see the header, the picture would have to be asked for.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from yarl import URL

from t2i_core.data.address import text_digest
from t2i_core.data.manners import aitxt, tdmrep
from t2i_core.data.manners.aitxt import AiTxtRules
from t2i_core.data.manners.denylist import DenyList
from t2i_core.data.manners.robots import RobotsAnswer, RobotsCache, RobotsRules, RulesCache
from t2i_core.data.manners.tdmrep import TdmRules
from t2i_core.data.reject import Rejection, RejectReason

MAX_REFUSALS = 100_000
_FINAL = frozenset({RejectReason.OPT_OUT_HEADER, RejectReason.TDM_RESERVED, RejectReason.HTTP_4XX})


class Permission:
    """Knows what each origin allows, asking for each of its files of rules at most once.

    Args:
        read: fetches one file of rules.
        deny_list: what is never asked for.
        opt_out_files: read tdmrep.json and ai.txt too.
        refusals: what is known of them, None to start with none.
    """

    def __init__(
        self,
        read: Callable[[URL], Awaitable[RobotsAnswer]],
        deny_list: DenyList,
        *,
        opt_out_files: bool,
        refusals: "Refusals | None" = None,
    ) -> None:
        self._deny_list = deny_list
        self._opt_out_files = opt_out_files
        self._robots = RobotsCache(read)
        self._tdm = RulesCache(tdmrep.PATH, read, TdmRules)
        self._ai = RulesCache(aitxt.PATH, read, AiTxtRules)
        self.refusals = refusals or Refusals()

    def known_refusal(self, url: URL) -> Rejection | None:
        """Say why the URL may not be asked for, as far as that is known without any request."""
        return self._deny_list.refusal(url) or self.refusals.of(url)

    async def robots(self, url: URL) -> RobotsRules:
        """Give the robots.txt of the URL's origin."""
        return self._robots.known(url) or await self._robots.rules(url)

    async def refusal(self, url: URL, robots: RobotsRules, *, is_picture: bool) -> Rejection | None:
        """Say why the URL may not be asked for by the rules of its site, or None when it may.

        Args:
            url: what is to be asked for.
            robots: of its origin, as `robots` gives them.
            is_picture: it is to be a picture, which is more than a page can allow or forbid.
        """
        refused = robots.refusal(url)
        if refused is not None or not self._opt_out_files:
            return refused
        refused = (self._tdm.known(url) or await self._tdm.rules(url)).refusal(url)
        if refused is not None or not is_picture:
            return refused
        return (self._ai.known(url) or await self._ai.rules(url)).refusal(url)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a server said when it refused a URL for good."""

    reason: RejectReason
    detail: str
    http_status: int
    signals: str


class Refusals:
    """Remembers which URLs a server refused for good, the latest hundred thousand of them."""

    def __init__(self) -> None:
        # Eight bytes of a digest in place of a URL keep this to some ten megabytes.
        self._known: OrderedDict[int, Refusal] = OrderedDict()

    def of(self, url: URL) -> Rejection | None:
        """Give the refusal that the URL met before."""
        known = self.of_digest(url_digest(url)) if self._known else None
        if known is None:
            return None
        return Rejection(known.reason, known.detail, known.http_status, str(url), known.signals)

    def of_digest(self, digest: int) -> Refusal | None:
        """Give the refusal that a URL of this digest met before."""
        return self._known.get(digest)

    def note(self, url: URL, rejection: Rejection) -> None:
        """Remember a refusal, if it is one for good."""
        if rejection.reason in _FINAL:
            refusal = Refusal(rejection.reason, rejection.detail, rejection.http_status, rejection.signals)
            self.remember(url_digest(url), refusal)

    def remember(self, digest: int, refusal: Refusal) -> None:
        """Remember a refusal for good of the URL with this digest."""
        self._known[digest] = refusal
        if len(self._known) > MAX_REFUSALS:
            self._known.popitem(last=False)


def url_digest(url: URL) -> int:
    """Give 64 bits that stand for a URL."""
    return text_digest(str(url))
