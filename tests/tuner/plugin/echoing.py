"""What a supervised process may do: answer, print, hang, die, lose its parent. Started by test_process."""

from __future__ import annotations

import os
import sys
import time

from tilewright.tuner.process import Parent

parent = Parent()
parent.send(sys.argv[1])
while True:
    asked = parent.receive()
    print("a driver's greeting")
    os.system("echo a compiler\\'s warning")
    if asked == "die":
        print("segment 7 is gone", file=sys.stderr)
        os._exit(3)
    if asked == "abort":
        os.abort()
    if asked == "hang":
        parent.send(os.getpid())
        time.sleep(3600)
    parent.send({"echo": asked})
