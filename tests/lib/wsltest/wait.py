# SPDX-License-Identifier: Apache-2.0
import time


def wait_for(what, condition, seconds=60, check=None):
    """Calls condition() until its result is true and returns that. After `seconds` it fails and says what the result
    was last. `check` is called between, to fail early when waiting has become pointless."""
    deadline = time.monotonic() + seconds
    while True:
        last = condition()
        if last:
            return last
        if check:
            check()
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s; the last result was {last!r}")
        time.sleep(0.02)
