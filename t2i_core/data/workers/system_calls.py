"""Takes system calls away from this process for good: it can no longer write, connect, fork or start a program.

The kernel runs a small filter (seccomp) before every call. Calls that are always allowed, such as reading, answering
and asking for memory, cost nothing more, for it remembers them by their number. Linux on x86_64 and aarch64; elsewhere
nothing is taken away.
"""

import ctypes
import errno
import os
import struct
import sys
from dataclasses import dataclass

SECCOMP_SET_MODE_FILTER = 1
# For all threads at once, and without the slow mitigations that a filter may bring with it.
TSYNC, SPEC_ALLOW = 1, 4
KILL, ALLOW, REFUSE = 0x80000000, 0x7FFF0000, 0x00050000
# Classic BPF: load a word, return, and jumps on equal, greater, and any bit set.
LOAD, RETURN, EQUAL, GREATER, ANY_BIT = 0x20, 0x06, 0x15, 0x25, 0x45
NUMBER_OFFSET, ARCHITECTURE_OFFSET, ARGUMENTS_OFFSET = 0, 4, 16
# Calls above this one (set_mempolicy_home_node) are newer than the list below, and are refused as unknown.
LAST_KNOWN = 450
CLONE_THREAD = 0x10000
# O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND; O_TMPFILE only comes with one of the first two.
WRITES = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000
# Would type into the terminal.
TIOCSTI, TIOCLINUX = 0x5412, 0x541C

# Each call with its number on x86_64 and on aarch64, - where there is none.
REFUSED = """
fork 57 -  vfork 58 -  execve 59 221  execveat 322 281  ptrace 101 117  tkill 200 130
process_vm_readv 310 270  process_vm_writev 311 271  process_madvise 440 440  process_mrelease 448 448
pidfd_open 434 434  pidfd_send_signal 424 424  pidfd_getfd 438 438  rt_sigqueueinfo 129 138  rt_tgsigqueueinfo 297 240
setns 308 268  unshare 272 97  kcmp 312 272
socket 41 198  socketpair 53 199  connect 42 203  bind 49 200  listen 50 201  accept 43 202  accept4 288 242
creat 85 -  truncate 76 45  unlink 87 -  unlinkat 263 35  rename 82 -  renameat 264 38  renameat2 316 276
mkdir 83 -  mkdirat 258 34  rmdir 84 -  link 86 -  linkat 265 37  symlink 88 -  symlinkat 266 36  mknod 133 -
mknodat 259 33  chmod 90 -  fchmod 91 52  fchmodat 268 53  chown 92 -  fchown 93 55  lchown 94 -  fchownat 260 54
utime 132 -  utimes 235 -  futimesat 261 -  utimensat 280 88  setxattr 188 5  lsetxattr 189 6  fsetxattr 190 7
removexattr 197 14  lremovexattr 198 15  fremovexattr 199 16  open_by_handle_at 304 265  memfd_create 319 279
memfd_secret 447 447  fanotify_init 300 262
mount 165 40  umount2 166 39  move_mount 429 429  open_tree 428 428  fsopen 430 430  fsconfig 431 431
fsmount 432 432  fspick 433 433  mount_setattr 442 442  chroot 161 51  pivot_root 155 41
io_uring_setup 425 425  io_uring_enter 426 426  io_uring_register 427 427  bpf 321 280  perf_event_open 298 241
userfaultfd 323 282  init_module 175 105  finit_module 313 273  delete_module 176 106  kexec_load 246 104
kexec_file_load 320 294  reboot 169 142  swapon 167 224  swapoff 168 225  iopl 172 -  ioperm 173 -  modify_ldt 154 -
keyctl 250 219  add_key 248 217  request_key 249 218  quotactl 179 60  quotactl_fd 443 443  acct 163 89
settimeofday 164 170  clock_settime 227 112  clock_adjtime 305 266  adjtimex 159 171  sethostname 170 161
setdomainname 171 162  syslog 103 116  personality 135 92  vhangup 153 58  shmget 29 194  shmat 30 196  msgget 68 186
semget 64 190  mq_open 240 180  mq_unlink 241 181
"""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Numbers that differ between machines; `column` counts them in REFUSED, and -1 is no call."""

    audit: int
    column: int
    seccomp: int
    clone: int
    open: int
    openat: int
    kill: int
    tgkill: int
    prlimit64: int
    ioctl: int


CLONE3, OPENAT2 = 435, 437
ARCHITECTURES = {
    "x86_64": Architecture(0xC000003E, 1, 317, 56, 2, 257, 62, 234, 302, 16),
    "aarch64": Architecture(0xC00000B7, 2, 277, 220, -1, 56, 129, 131, 261, 29),
}

_Instruction = tuple[int, int, int, int]


def refuse_system_calls() -> bool:
    """Refuse them in this process from now on; `no_new_privs` must be set before.

    Returns:
        Whether it was possible.
    """
    architecture = ARCHITECTURES.get(os.uname().machine) if sys.platform == "linux" else None
    if architecture is None or struct.calcsize("P") != 8:
        return False
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in filter_program(architecture, os.getpid()))
    instructions = ctypes.create_string_buffer(program, len(program))
    head = ctypes.create_string_buffer(struct.pack("HP", len(program) // 8, ctypes.addressof(instructions)))
    call = ctypes.CDLL(None, use_errno=True).syscall
    number, flags = ctypes.c_long(architecture.seccomp), ctypes.c_ulong(TSYNC | SPEC_ALLOW)
    return bool(call(number, ctypes.c_ulong(SECCOMP_SET_MODE_FILTER), flags, head) == 0)


def filter_program(architecture: Architecture, process_id: int) -> list[_Instruction]:
    """Write the filter, as (code, jump if true, jump if false, value)."""
    unknown, not_permitted = REFUSE | errno.ENOSYS, REFUSE | errno.EPERM
    program = [
        _load(ARCHITECTURE_OFFSET),
        *_when(EQUAL, architecture.audit, unless=KILL),
        _load(NUMBER_OFFSET),
        *_when(GREATER, LAST_KNOWN, then=unknown),
        # Their flags lie in memory, where no filter can look; the C library then asks in the older way.
        *_when(EQUAL, CLONE3, then=unknown),
        *_when(EQUAL, OPENAT2, then=unknown),
    ]
    for number in _refused_numbers(architecture):
        program += _when(EQUAL, number, then=not_permitted)
    program += _checked(architecture.clone, 0, ANY_BIT, CLONE_THREAD, unless=not_permitted)
    program += _checked(architecture.open, 1, ANY_BIT, WRITES, then=not_permitted)
    program += _checked(architecture.openat, 2, ANY_BIT, WRITES, then=not_permitted)
    for number in (architecture.kill, architecture.tgkill):
        program += _checked(number, 0, EQUAL, process_id, unless=not_permitted)
    program += _checked(architecture.prlimit64, 0, EQUAL, 0, unless=not_permitted)
    program += _checked(architecture.ioctl, 1, EQUAL, TIOCSTI, then=not_permitted)
    program += _checked(architecture.ioctl, 1, EQUAL, TIOCLINUX, then=not_permitted)
    return [*program, (RETURN, 0, 0, ALLOW)]


def _refused_numbers(architecture: Architecture) -> list[int]:
    words = REFUSED.split()
    numbers = words[architecture.column :: 3]
    return [int(number) for number in numbers if number != "-"]


def _load(offset: int) -> _Instruction:
    return LOAD, 0, 0, offset


def _when(code: int, value: int, *, then: int | None = None, unless: int | None = None) -> list[_Instruction]:
    """Answer if the comparison holds, or if it does not; go on otherwise."""
    if then is not None:
        return [(code, 0, 1, value), (RETURN, 0, 0, then)]
    assert unless is not None
    return [(code, 1, 0, value), (RETURN, 0, 0, unless)]


def _checked(
    number: int, argument: int, code: int, value: int, *, then: int | None = None, unless: int | None = None
) -> list[_Instruction]:
    """Look at the lower half of one argument of one call, and load the call's number again after it."""
    if number < 0:
        return []
    block = [
        _load(ARGUMENTS_OFFSET + 8 * argument),
        *_when(code, value, then=then, unless=unless),
        _load(NUMBER_OFFSET),
    ]
    return [(EQUAL, 0, len(block), number), *block]
