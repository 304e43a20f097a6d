"""ai.txt, Spawning's file for pictures that are not to be trained on: in the language of robots.txt, by file type."""

from protego import Protego
from yarl import URL

from t2i_core.data.politeness import PRODUCT_TOKEN, RobotsAnswer
from t2i_core.data.reject import Rejection, RejectReason

PATH = "/ai.txt"


class AiTxtRules:
    """What an origin's ai.txt disallows; a file that is not there, or is a page, disallows nothing."""

    def __init__(self, answer: RobotsAnswer) -> None:
        is_file = answer.status == 200 and "html" not in answer.content_type.lower()
        self._rules = Protego.parse(answer.text) if is_file else None

    def refusal(self, url: URL) -> Rejection | None:
        """Say that the picture at the URL is disallowed, or None when it is not."""
        if self._rules is None or self._rules.can_fetch(str(url), PRODUCT_TOKEN):
            return None
        return Rejection(RejectReason.AI_TXT)
