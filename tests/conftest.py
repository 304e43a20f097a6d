"""How much the property tests try: the same examples each time, or with `--hypothesis-profile explore` many others."""

from hypothesis import settings

settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=5_000)
settings.load_profile("same")
