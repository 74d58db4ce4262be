#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later

"""Runs a command at a terminal of its own.

terminal.py COLUMNS SECONDS CMD...   prints what appears; ends with the command, or interrupts it after SECONDS as ^C does
"""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

columns, seconds, command = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
# The command waits until its terminal is as wide as it should be.
go, ready = os.pipe()
pid, terminal = pty.fork()
if pid == 0:
    os.close(ready)
    os.read(go, 1)
    try:
        os.execvp(command[0], command)
    finally:
        os._exit(127)
os.close(go)
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
os.close(ready)

end = time.monotonic() + seconds
interrupted = False
while True:
    if select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # EIO: the other side is closed
            break
        if not data:
            break
        sys.stdout.buffer.write(data.replace(b"\r\n", b"\n"))
    elif interrupted:
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 10
    else:
        os.write(terminal, b"\x03")
        interrupted = True
        end = time.monotonic() + 5
sys.stdout.flush()
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.exit(0 if interrupted and status == -signal.SIGINT else status if status >= 0 else 128 - status)
