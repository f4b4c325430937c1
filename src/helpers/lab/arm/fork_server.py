"""A process that has imported what arms need and forks one for each of them: that costs
milliseconds, where a new interpreter would cost a second.

Standard input is a socket. A message with two pipe ends on it asks for an arm, which reads from the
first and writes to the second; one without asks to kill the arm. The answer, when the arm has
ended, is its exit code in four bytes. The end of the socket means that the lab is gone.

This is not `multiprocessing.forkserver`: an arm would inherit the pipe that keeps that one alive,
could have no children, would run the lab's main script again, and leave folders behind.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import struct

from helpers.lab.arm import child
from helpers.processes import die_with_parent

EXIT_CODE = struct.Struct("i")
_LOOK_EVERY = 0.5


def main() -> None:
    control = socket.socket(fileno=os.dup(0))
    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    gc.freeze()  # no collection in an arm need look at what is loaded now
    lab = os.getppid()
    while True:
        while not select.select([control.fileno()], [], [], _LOOK_EVERY)[0]:
            if os.getppid() != lab:  # a fork of it keeps the socket open
                return
        message, pipes, *_ = socket.recv_fds(control, 1, 2)
        if not message:
            return
        if not pipes:
            continue  # the arm that it asks to kill has ended meanwhile
        arm = os.fork()
        if arm == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (control.detach(), wake, waker):
                os.close(descriptor)
            _become_arm(*pipes)
        for pipe in pipes:
            os.close(pipe)
        code = _wait(arm, control, wake, lab)
        with contextlib.suppress(OSError):  # the lab is gone
            control.sendall(EXIT_CODE.pack(code))


def _become_arm(orders: int, events: int) -> None:
    os.setsid()  # the arm and what it starts can be killed together
    die_with_parent()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.set_inheritable(events, False)
    child.main(os.fdopen(orders, "rb"), events)
    # At once: while an interpreter ends, abandoned tasks complain on the notebook's stderr.
    os._exit(0)


def _wait(arm: int, control: socket.socket, wake: int, lab: int) -> int:
    """The arm's exit code, once it has ended; kills it if the lab asks to or is gone."""
    while True:
        ended, status = os.waitpid(arm, os.WNOHANG)
        if ended:
            _kill_group(arm)  # what the arm has started may not outlive it
            return os.waitstatus_to_exitcode(status)
        readable, _, _ = select.select([control.fileno(), wake], [], [], _LOOK_EVERY)
        if control.fileno() in readable or os.getppid() != lab:
            _kill_group(arm)
            # It may not have begun to lead a group.
            os.kill(arm, signal.SIGKILL)
            _, status = os.waitpid(arm, 0)
            return os.waitstatus_to_exitcode(status)
        if wake in readable:
            os.read(wake, 4096)


def _kill_group(arm: int) -> None:
    # PermissionError: macOS, when only zombies are left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(arm, signal.SIGKILL)


if __name__ == "__main__":
    main()
