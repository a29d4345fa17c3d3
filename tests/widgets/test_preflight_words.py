from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from napari_cryodrgn.analysis.hypotheses import Change, Comparison, Hypothesis
from napari_cryodrgn.analysis.preflight import Images, Map
from napari_cryodrgn.widgets.preflight_words import (
    NAMES,
    about_contrast,
    about_map,
    about_poses,
)

NOTHING = np.zeros(4, np.float32)


def comparison(evidence: float = 50.0, **scores: float) -> Comparison:
    hypotheses = tuple(
        Hypothesis(name.replace("_", " "), score, 100 * (score - scores["none"]))
        for name, score in scores.items()
    )
    return Comparison(hypotheses, 0.2, evidence, 500)


def images(contrast: float) -> Images:
    return Images(NOTHING, NOTHING, NOTHING, 1.0, contrast, contrast < -6, 500, ())


def test_every_change_has_a_name():
    assert set(NAMES) == set(get_args(Change))


@pytest.mark.parametrize("change", sorted(set(get_args(Change)) - {"none"}))
def test_a_better_change_is_suggested(change):
    finding = about_poses(comparison(none=0.22, **{change.replace(" ", "_"): 0.5}))
    assert finding.level == "bad"
    assert finding.text.endswith("?")
    assert finding.button


def test_right_poses_are_left_alone():
    finding = about_poses(comparison(none=0.5, shifts_reversed=0.3))
    assert (finding.level, finding.button) == ("good", "")


def test_a_little_better_is_no_reason():
    finding = about_poses(comparison(none=0.50, no_shifts=0.52))
    assert (finding.level, finding.button) == ("unclear", "")


def test_nothing_fits():
    finding = about_poses(comparison(evidence=2.0, none=0.2, no_shifts=0.21))
    assert (finding.level, finding.button) == ("bad", "")
    assert "other particles" in finding.text


def test_a_map_of_a_few_particles_has_no_resolution():
    many = Map(NOTHING, NOTHING, 4.0, 256.0, 20.4, 2000)
    assert about_map(many) == "2,000 particles: 20.4 Å (FSC 0.143)"
    assert about_map(replace(many, pixel_size=None)) == "2,000 particles: 20.4 px (FSC 0.143)"
    assert about_map(replace(many, n=5)) == "5 particles"


def test_contrast():
    assert about_contrast(images(-30.0), False).button == "Invert"
    assert about_contrast(images(-30.0), True).button == "Bright on dark"
    assert about_contrast(images(30.0), False).level == "good"
    unclear = about_contrast(images(0.5), False)
    assert (unclear.level, unclear.button) == ("unclear", "")
    assert about_contrast(replace(images(30.0)), True).text.endswith("once inverted).")
