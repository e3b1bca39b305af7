#!/usr/bin/python3
"""reaper.py FILE COMMAND...: runs a command, waits for all processes that come of it, also those that it left
behind, and writes the microseconds of CPU of all of them to FILE. SIGTERM goes on to the command alone, which then
ends its own; when this program dies, the kernel kills the command."""
import ctypes
import os
import pathlib
import signal
import sys

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def main(file, *command):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")
    child = os.fork()
    if child == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.execvp(command[0], command)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    spent, status = 0.0, 0
    while True:
        try:
            pid, how, usage = os.wait4(-1, 0)
        except ChildProcessError:
            break
        spent += usage.ru_utime + usage.ru_stime
        if pid == child:
            status = os.waitstatus_to_exitcode(how)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path(file).write_text(f"{spent * 1e6:.0f}\n")
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
