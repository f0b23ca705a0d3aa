"""The pictures of the documents: the drawn one keeps its texts in its boxes, at the width of a phone; none is heavy."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

pytestmark = pytest.mark.extended

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
# GitHub's page leaves this much of a phone of 390 px.
COLUMN = 358
MAX_BYTES = 300_000
BOXES = """() => {
    const edges = element => { const r = element.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
    const boxes = [...document.querySelectorAll('rect[class]')].map(edges);
    return [...document.querySelectorAll('text')].map(text => {
        const [left, top, right, bottom] = edges(text);
        const box = boxes.find(b => b[1] <= top && bottom <= b[3]) || edges(document.documentElement);
        return [text.textContent, left - box[0], box[2] - right];
    });
}"""


def test_the_picture_of_the_flow_keeps_its_texts_in_its_boxes(browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto((IMAGES / "architecture.svg").as_uri())
    distances = page.evaluate(BOXES)
    assert len(distances) > 30
    assert [text for text, left, right in distances if left < 4 or right < 4] == []
    view = page.evaluate("document.documentElement.viewBox.baseVal.width")
    sizes = page.evaluate("[...document.querySelectorAll('text')].map(t => parseFloat(getComputedStyle(t).fontSize))")
    assert min(sizes) * COLUMN / view > 9.5, "readable at the width of a phone"
    page.close()


@pytest.mark.parametrize("path", sorted(IMAGES.iterdir()), ids=lambda path: path.name)
def test_a_picture_is_light(path: Path) -> None:
    assert path.stat().st_size < MAX_BYTES
