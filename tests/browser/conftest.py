"""A browser for the tests of a module, and no longer: the event loop of Playwright stays in the way of others."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.kit import open_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened
