from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractSlider

from napari_cryodrgn.widgets.particle_bar import ParticleBar

N = 500


@pytest.fixture
def bar(qtbot) -> Iterator[ParticleBar]:
    """Follows its own choices, as in the inspector."""
    bar = ParticleBar()
    qtbot.addWidget(bar)
    bar.resize(340, bar.sizeHint().height())
    bar.show()
    bar.chosen.connect(lambda particle: bar.show_particle(particle, N, bar._mask))
    bar.show_particle(0, N)
    return bar


def click(qtbot, button) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_steps_through_all(bar, qtbot):
    assert not bar.before.isEnabled()
    assert bar.note.isHidden()
    click(qtbot, bar.after)
    assert bar.number.value() == bar.slider.value() == 1
    bar.show_particle(N - 1, N)
    assert not bar.after.isEnabled()
    click(qtbot, bar.before)
    assert bar.number.value() == N - 2


def test_steps_through_a_selection(bar, qtbot):
    mask = np.isin(np.arange(N), (3, 40, 41, 300))
    bar.show_particle(40, N, mask)
    assert bar.note.text() == "in the selection (2 of 4)"
    assert "of the selection" in bar.after.toolTip()
    for button, expected in (
        (bar.after, 41),
        (bar.after, 300),
        (bar.before, 41),
        (bar.before, 40),
        (bar.before, 3),
    ):
        click(qtbot, button)
        assert bar.number.value() == expected
    assert not bar.before.isEnabled()
    assert bar.after.isEnabled()
    bar.show_particle(300, N, mask)
    assert not bar.after.isEnabled()
    # Without the selection all of them come next.
    bar.show_particle(300, N)
    click(qtbot, bar.after)
    assert bar.number.value() == 301


def test_a_particle_beside_the_selection(bar, qtbot):
    mask = np.isin(np.arange(N), (100, 200))
    for start, button, expected in ((150, "before", 100), (150, "after", 200), (0, "after", 100)):
        bar.show_particle(start, N, mask)
        assert bar.note.text() == "not in the selection (of 2)"
        click(qtbot, getattr(bar, button))
        assert bar.number.value() == expected
    bar.show_particle(0, N, mask)
    assert not bar.before.isEnabled()


def test_a_selection_of_nobody(bar, qtbot):
    bar.show_particle(5, N, np.zeros(N, bool))
    assert bar.note.text() == "Nothing is selected."
    click(qtbot, bar.after)
    assert bar.number.value() == 6


def test_a_selection_of_many_is_looked_through_once(bar, monkeypatch):
    mask = np.ones(1_000_000, bool)
    bar.show_particle(0, len(mask), mask)
    monkeypatch.setattr(np, "flatnonzero", lambda _: pytest.fail("again"))
    for particle in range(1, 20):
        bar.show_particle(particle, len(mask), mask)
    assert bar.note.text() == "in the selection (20 of 1,000,000)"


def test_the_slider_has_most_of_the_room(bar):
    assert bar.slider.width() > 0.3 * bar.width()
    bar.slider.triggerAction(QAbstractSlider.SliderAction.SliderPageStepAdd)
    assert bar.number.value() == N // 20


def test_no_particles(bar):
    bar.show_particle(0, 0)
    assert not bar.isEnabled()
    assert not bar.after.isEnabled()
