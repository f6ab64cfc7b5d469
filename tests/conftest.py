from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

import prefixcap  # noqa: F401  # before transformers, so that it can be imported here

# no deadline, because a busy machine is slow; CI repeats the same examples, and runs by hand search
# for new ones
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

# a shell's background jobs and `nohup` ignore these, and so would all processes of the tests
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("../shared (real data and goldens) is not beside this checkout")
    return SHARED


# Files with the longest tests. Begun first, they do not keep one process busy at the end, when the
# others have nothing left.
LONGEST = ("test_docs_blocks.py", "test_pages.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)
