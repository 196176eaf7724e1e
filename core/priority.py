"""Work behind decoding: what heavy requests need of the processor beside the model's own threads gives way to those.

Reading, compiling and rendering for one request may take seconds, and whoever has a stream is to notice nothing of it.
So a thread that does such work takes what the streams leave. Systems know that of single threads, and a thread that has
given way does so until its end: none may raise itself again.

Python's own lock comes on top. A thread that computes in Python keeps it for a whole turn when another one wants it,
and a model's thread wants it several times a token, so the turns are made short. A thread of low priority that holds it
cannot hold up the model's for long: the one that waits leaves its processor to the one that holds it.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from contextlib import suppress
from typing import Final

NICENESS: Final = 10
"""Beyond that of the process: beside a thread that decodes, a tenth of a processor."""
PATIENCE_SECONDS: Final = 0.05
"""Of the processor, which work that is short as a rule has like any other."""
TURN_SECONDS: Final = 0.0005
"""That a thread may go on in Python when another one waits; Python's own are ten times as long."""
_MOST_NICENESS: Final = 19
_UTILITY_CLASS: Final = 0x11
"""QOS_CLASS_UTILITY of sys/qos.h: for work whose result nobody waits for at once."""
_BELOW_NORMAL_LEVEL: Final = -1
"""THREAD_PRIORITY_BELOW_NORMAL_LEVEL of Windows."""


def give_way() -> None:
    """Lower the priority of the calling thread, until its end. Does nothing where the system knows none."""
    if sys.platform == "darwin":
        set_class = getattr(ctypes.CDLL(None), "pthread_set_qos_class_self_np", None)
        if set_class is not None:
            set_class(_UTILITY_CLASS, 0)
    elif sys.platform == "win32":
        kernel = ctypes.WinDLL("kernel32")
        kernel.GetCurrentThread.restype = ctypes.c_void_p
        kernel.SetThreadPriority(ctypes.c_void_p(kernel.GetCurrentThread()), _BELOW_NORMAL_LEVEL)
    else:
        _lower(threading.get_native_id())


class ThreadWork:
    """What a thread does for one request, from now on. Made on that thread; others may have it give way."""

    def __init__(self) -> None:
        self._thread = threading.get_native_id()
        self._clock: int | None = None
        if sys.platform == "linux":
            # It alone lets one lower another thread.
            self._clock = time.pthread_getcpuclockid(threading.get_ident())
        self._began = time.thread_time()

    def lower_late(self, patience: float = PATIENCE_SECONDS) -> bool:
        """Have the thread give way if the work has taken so many seconds of the processor; whether it has given way
        now, and is to do nothing else afterwards. By the clock even the shortest work takes long where many compute.

        The thread must not have ended.
        """
        if self._clock is None or time.clock_gettime(self._clock) - self._began < patience:
            return False
        return _lower(self._thread)


def _lower(native_id: int) -> bool:
    with suppress(OSError):
        # Of a thread, in spite of the name.
        niceness = os.getpriority(os.PRIO_PROCESS, native_id)
        os.setpriority(os.PRIO_PROCESS, native_id, min(_MOST_NICENESS, niceness + NICENESS))
        return True
    return False


def shorten_turns() -> None:
    """Have the threads of this process wait less for one another in Python."""
    sys.setswitchinterval(TURN_SECONDS)
