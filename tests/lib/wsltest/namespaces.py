# SPDX-License-Identifier: Apache-2.0
"""What this process may not do with Linux namespaces, in words for skipTest(); None where it may."""
import os
import subprocess


def no_mounts():
    """A mount namespace of one's own needs root, and a root directory that is a mount point: that of a chroot is none."""
    if os.geteuid() != 0:
        return "mounting a small disk needs root"
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else "mounting a small disk: " + tried.stderr.strip()
