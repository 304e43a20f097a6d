"""Takes files away from this process for good: it can open only what Python and its packages are made of.

Landlock, in the kernel since Linux 5.13, refuses all others, and looking into other processes. Elsewhere nothing is
taken away. What is open already stays readable.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

# The same on every architecture.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
ASK_VERSION, PATH_BENEATH = 1, 1
READ_FILE, READ_DIRECTORY = 1 << 2, 1 << 3
# How many rights on files each version of Landlock knows; the first is execute, and later ones only add.
NUM_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
SYSTEM = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom")


def read_only_what_python_is() -> bool:
    """Refuse all other files from now on; `no_new_privs` must be set before.

    Returns:
        Whether it was possible.
    """
    if sys.platform != "linux":
        return False
    call = ctypes.CDLL(None, use_errno=True).syscall
    version = call(ctypes.c_long(CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint(ASK_VERSION))
    if version < 1:
        return False
    handled = (1 << NUM_RIGHTS.get(version, NUM_RIGHTS[max(NUM_RIGHTS)])) - 1
    wanted = struct.pack("=Q", handled)
    rules = call(ctypes.c_long(CREATE_RULESET), wanted, ctypes.c_size_t(len(wanted)), ctypes.c_uint(0))
    if rules < 0:
        return False
    try:
        for path in _readable():
            _allow(call, rules, path)
        return bool(call(ctypes.c_long(RESTRICT_SELF), ctypes.c_int(rules), ctypes.c_uint(0)) == 0)
    finally:
        os.close(rules)


def _readable() -> Sequence[str]:
    ours = Path(__file__).parents[1]
    # The folder that holds our package may be a checkout with much else in it.
    packages = [path for path in sys.path if Path(path) != ours.parent]
    return [path for path in (str(ours), sys.prefix, sys.base_prefix, *packages, *SYSTEM) if Path(path).exists()]


def _allow(call: "ctypes._NamedFuncPointer", rules: int, path: str) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights = READ_FILE | READ_DIRECTORY if Path(path).is_dir() else READ_FILE
        rule = struct.pack("=Qi", rights, place)
        call(ctypes.c_long(ADD_RULE), ctypes.c_int(rules), ctypes.c_uint(PATH_BENEATH), rule, ctypes.c_uint(0))
    finally:
        os.close(place)
