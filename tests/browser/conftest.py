"""One browser for all of these tests."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.kit import open_browser


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened
