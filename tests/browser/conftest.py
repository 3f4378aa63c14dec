"""The browser of these tests."""

import shutil

import pytest


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's command."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium here; `apt-get install chromium` to look at pages in a browser")
    return found
