"""The model of a large run: what more nodes make shorter, and what they do not."""

from pathlib import Path

import pytest

from bench.stages import draw_model, model, model_table

pytestmark = pytest.mark.extended

# CPU and wall seconds of 1,000,000 candidates.
MEASURED = {
    "stage": {"cpu": 3.2, "seconds": 2.0},
    "build": {"cpu": 6.4, "seconds": 4.0},
    "derive": {"cpu": 1.6, "seconds": 1.0},
    "publish": {"cpu": 3.0, "seconds": 3.6},
    "server": {"cpu": 4.8},
}


def test_nodes_shorten_what_is_spread(tmp_path: Path) -> None:
    rows = model(MEASURED, 1_000_000)
    hours = dict(rows)
    # 1,000 times 6.4 CPU seconds on 16 cores are 400 s.
    assert hours[1]["build"] == pytest.approx(400 / 3600)
    assert hours[4]["build"] == pytest.approx(100 / 3600)
    # PostgreSQL has 16 cores whatever the nodes, the coordinator is one machine.
    assert hours[1]["read"] == hours[32]["read"] == pytest.approx(300 / 3600)
    assert hours[1]["publish"] == hours[32]["publish"] == pytest.approx(1.0)
    assert model_table(rows)[2] == "| 1 | 0.08 | 0.11 | 0.03 | 1.00 | 1.2 |"
    draw_model(rows, tmp_path / "scale.svg")
    assert "1 node" in (tmp_path / "scale.svg").read_text()
