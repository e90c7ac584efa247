# SPDX-License-Identifier: Apache-2.0
"""What the tests with real daemons share. A test file is

    from wsltest import Case, main

    class Things(Case):
        def test_one(self):
            self.cluster.start_coordinator()
            self.cluster.start_worker("a", slots=2)
            self.wait_for("both slots", lambda: ...)
            print(self.cluster.wslctl("nodes").stdout)

    main()

Everything a case starts lives in self.folder and is gone after it, also when it fails; a failure's text ends with the
last lines of the daemons' logs. meson sets WSL_BUILD (the build folder) and PYTHONPATH; by hand:
    WSL_BUILD=build/check PYTHONPATH=tests/lib /usr/bin/python3 tests/integration/test_foreign_client.py
"""
from .case import Case, main
from .cluster import Cluster, Daemon, program
from .specs import job_spec
from .wait import wait_for

__all__ = ["Case", "Cluster", "Daemon", "job_spec", "main", "program", "wait_for"]
