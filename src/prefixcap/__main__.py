"""`python -m prefixcap`: the command `prefixcap`, for launchers that start a module."""

import sys

from prefixcap.cli import main

sys.exit(main())
