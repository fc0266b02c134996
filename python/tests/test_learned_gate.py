"""Learned gates beside numbers that PyTorch computed for the Rust tests, and gates in cards; needs no vLLM."""

import json
import math
import pathlib
import shutil

import pytest
import torch

import ivl
from ivl.learned_gate import FEATURES, LearnedGate, features
from ivl.projection import fuse
from ivl.value_card import ValueCard

ROOT = pathlib.Path(__file__).parents[2]
FIXTURE = json.loads((ROOT / "crates/ivl-core/tests/fixtures/learned_gate.json").read_text())
GATE = LearnedGate(tuple(FIXTURE["weights"]), FIXTURE["bias"])
SMALL, LARGE = ROOT / "examples/first-value/small", ROOT / "examples/first-value/large"


def mapped(case):
    """Logits of a value over the base's ids, 0 where it has none, and a mask of those ids."""
    rows = [[math.inf if number is None else number for number in row] for row in case["value"]]
    own = torch.tensor(rows)
    ids = case["map"]
    value = torch.stack([own[:, at] if at is not None else torch.full((len(own),), math.inf) for at in ids], -1)
    missing = (value == math.inf).float()
    return value.masked_fill(missing.bool(), 0.0), missing if bool(missing.any()) else None


@pytest.mark.parametrize("case", FIXTURE["cases"], ids=lambda case: case["name"])
def test_features_gates_and_logits(case):
    base = torch.tensor(case["base"])
    value, missing = mapped(case)
    unmapped = missing if case["neutral"] else None
    found = features(base, value, unmapped, missing)
    for row, expected in enumerate(case["features"]):
        if expected is not None:
            torch.testing.assert_close(found[row], torch.tensor(expected), rtol=2e-5, atol=2e-5)
    gated = GATE.apply(base, value, unmapped, missing)
    for alpha, expected in zip(FIXTURE["alphas"], case["fused"]):
        torch.testing.assert_close(fuse(base, gated, alpha, unmapped), torch.tensor(expected), rtol=2e-5, atol=2e-5)


def card(**changes):
    gate = {"weights": dict(zip(FEATURES, FIXTURE["weights"])), "bias": FIXTURE["bias"], **changes}
    return {"format": 2, "connection": "residual", "alpha": 1.0, "gate": gate}


def written(directory, content):
    directory.mkdir(exist_ok=True)
    (directory / ValueCard.FILE).write_text(json.dumps(content))
    return directory


def test_a_card_has_its_gate(tmp_path):
    assert ValueCard.read(written(tmp_path / "value", card())).gate == GATE
    old = {"format": 1, "connection": "residual", "alpha": 1.0}
    assert ValueCard.read(written(tmp_path / "old", old)).gate is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (card(weights={**card()["gate"]["weights"], "mood": 1.0}), "`mood`"),
        (card(weights={name: 0.0 for name in FEATURES[1:]}), "no weight for `base_entropy`"),
        (card(bias=math.nan), "`bias` of `gate` .* expected a finite number"),
        (card(weights={**card()["gate"]["weights"], "value_rms": math.inf}), "`value_rms` of `gate` .* expected a finite number"),
        (card(bias="much"), "'much', expected a finite number"),
        (card(weights=None), "has no `weights`"),
        ({**card(), "connection": "cascade"}, "expected one of a residual value"),
        ({**card(), "format": 3}, "later version"),
    ],
)
def test_gates_that_cannot_be_applied_are_refused(tmp_path, content, message):
    with pytest.raises(ivl.IvlError, match=message):
        ValueCard.read(written(tmp_path / "value", content))


def test_a_gated_value_is_multiplied_and_its_weight_is_that_of_each_row(tmp_path):
    value = tmp_path / "gated"
    shutil.copytree(SMALL, value)
    written(value, card())
    gated, plain = ivl.load(LARGE, [value], device="cpu"), ivl.load(LARGE, [SMALL], device="cpu")
    ids = torch.tensor([[52, 70, 83, 70, 1, 77]])
    with torch.no_grad():
        base, fused = (plain(ids, alpha=alpha).logits for alpha in (0.0, 1.0))
        expected = base + GATE.apply(base, fused - base)
        assert (expected - fused).abs().max() > 0.1
        torch.testing.assert_close(gated(ids).logits, expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(gated(ids, alpha=0.0).logits, base)
        rows = gated(ids.repeat(3, 1), alpha=torch.tensor([0.0, 1.0, 0.5])).logits
        halved = base + 0.5 * GATE.apply(base, fused - base)
        torch.testing.assert_close(rows, torch.cat([base, expected, halved]), rtol=1e-4, atol=1e-4)
