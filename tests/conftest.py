"""How much the property tests try: the same examples each time, or with `--hypothesis-profile explore` many others.

And on how many threads each test calculates, and what an interrupt does.
"""

import os
import signal

from hypothesis import settings

settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=5_000)
settings.load_profile("same")

# Tests run beside each other, and the threads of one wait for each other by turning in circles: on cores that others
# use too, two threads take ten times as long as one. PyTorch reads this when it is imported, here and in trainers.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A job in the background of a script is started with SIGINT ignored, and so would be all that the tests start and
# interrupt. A trainer catches it whatever it inherited; the tests are about what an interrupt does where it is wanted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
