"""How much the property tests try: the same examples each time, or with `--hypothesis-profile explore` many others."""

import signal

from hypothesis import settings

settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=5_000)
settings.load_profile("same")

# A job in the background of a script is started with SIGINT ignored, and so would be all that the tests start and
# interrupt. A trainer catches it whatever it inherited; the tests are about what an interrupt does where it is wanted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
