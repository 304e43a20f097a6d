"""robots.txt cut down to what concerns this agent, so that reading and weighing it stays cheap whatever it says.

A file of half a megabyte can name ten thousand agents for ten thousand rules, which every parser multiplies out.
"""

import re

# More than any site needs; each is looked at for every URL of the site.
MAX_RULES = 10_000
MAX_WILDCARD_RULES = 500
MAX_SITEMAPS = 200
_AGENT = re.compile(r"user(?:-|\s*)agent(?:\s*:\s*|\s+|$)(.*)", re.IGNORECASE)
_SITE_WIDE = re.compile(r"(site-?maps?|host)\b", re.IGNORECASE)
_KNOWN = re.compile(r"(allow|d[a-z]{6,8}w|crawl[- ]delay|request[- ]rate|visit[- ]time)\b", re.IGNORECASE)
_WILDCARD = re.compile(r"\*|\$\s*$")


class TooManyRulesError(Exception):
    """There are more rules for this agent than can be weighed for each URL."""


def text_for(text: str, token: str) -> str:
    """Keep the groups that name an agent or all, and the sitemaps, in their order.

    Args:
        text: a robots.txt, or another file in its language.
        token: the agent's product token.

    Raises:
        TooManyRulesError: more is left than can be weighed.
    """
    kept: list[str] = []
    rules = wildcards = sitemaps = 0
    concerned = after_rule = False
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if not line:
            continue
        agent = _AGENT.fullmatch(line)
        if agent is not None:
            if after_rule:
                concerned = after_rule = False
            if _names(agent[1], token):
                concerned = True
                kept.append(f"User-agent: {agent[1]}")
        elif _SITE_WIDE.match(line):
            sitemaps += 1
            kept += [line] if sitemaps <= MAX_SITEMAPS else []
        elif ":" in line or _KNOWN.match(line):
            after_rule = True
            if concerned:
                rules += 1
                wildcards += bool(_WILDCARD.search(line))
                kept.append(line)
        if rules > MAX_RULES or wildcards > MAX_WILDCARD_RULES:
            raise TooManyRulesError
    return "\n".join(kept)


def _names(agent: str, token: str) -> bool:
    """Tell whether an agent line may mean this agent: by its name, a part of it, or for all."""
    return agent == "*" or (0 < len(name := agent.replace("*", "").strip().lower()) <= len(token) and name in token)
