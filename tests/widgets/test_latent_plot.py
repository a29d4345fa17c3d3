from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent, QWheelEvent
from qtpy.QtWidgets import QApplication

from napari_cryodrgn.widgets import latent_plot
from napari_cryodrgn.widgets.background import Background
from napari_cryodrgn.widgets.latent_plot import LatentPlot
from napari_cryodrgn.widgets.map_tools import MapTools
from napari_cryodrgn.widgets.qt_tools import GuiThread, colors

LEFT, MIDDLE, RIGHT = (
    Qt.MouseButton.LeftButton,
    Qt.MouseButton.MiddleButton,
    Qt.MouseButton.RightButton,
)
SHIFT = Qt.KeyboardModifier.ShiftModifier
NONE = Qt.KeyboardModifier.NoModifier


def cloud(n=400, dimensions=2, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dimensions)).astype(np.float32)


def numbers(n=400):
    data = np.linspace(1, 2, n, dtype=np.float32)
    return SimpleNamespace(name="defocus", data=data, labels=None, unit="µm")


def categories(n=400, k=3):
    data = (np.arange(n) % k).astype(np.int32)
    labels = tuple(f"cluster {i}" for i in range(k))
    return SimpleNamespace(name="cluster", data=data, labels=labels, unit="")


@pytest.fixture
def make(qtbot) -> Callable[..., LatentPlot]:
    def make(points=None, theme="dark", ask=None) -> LatentPlot:
        plot = LatentPlot(colors(theme), ask)
        qtbot.addWidget(plot)
        plot.resize(380, 380)
        plot.show()
        qtbot.waitExposed(plot)
        if points is not None:
            plot.set_points(points, ("PC1", "PC2")[: points.shape[1]])
            # Its parts find their places.
            qtbot.wait(50)
        return plot

    return make


def pixel(plot: LatentPlot, x: float, y: float) -> QPoint:
    return plot.mapFromScene(plot.view.mapViewToScene(QPointF(x, y)))


def drag(qtbot, plot: LatentPlot, *points, button=LEFT, modifier=NONE) -> None:
    """Drag through points in data units."""
    places = [pixel(plot, *p) for p in points]
    viewport = plot.viewport()
    qtbot.mousePress(viewport, button, modifier, places[0])
    for place in places:
        # The plot looks at the mouse a hundred times a second.
        qtbot.wait(15)
        move(viewport, place, button, modifier)
    qtbot.mouseRelease(viewport, button, modifier, places[-1])


def move(viewport, place: QPoint, button, modifier=NONE) -> None:
    where = QPointF(place)
    event = QMouseEvent(
        QEvent.Type.MouseMove, where, QPointF(viewport.mapToGlobal(place)), button, button, modifier
    )
    QApplication.sendEvent(viewport, event)


class Heard(list):
    """What a signal has told."""

    def __init__(self, signal) -> None:
        signal.connect(lambda *told: self.append(told))


# Clicking and dragging


def test_a_click_tells_the_point_and_the_size_of_a_pixel(make, qtbot):
    plot = make(cloud())
    clicked = Heard(plot.clicked)

    qtbot.mouseClick(plot.viewport(), LEFT, pos=pixel(plot, 1.0, -0.5))

    ((point, unit),) = clicked
    np.testing.assert_allclose(point, (1.0, -0.5), atol=2 * max(unit))
    width = np.ptp(plot.viewRange()[0]) / plot.view.width()
    assert unit[0] == pytest.approx(width, rel=0.01)


def test_a_drag_is_followed_until_the_button_is_released(make, qtbot):
    plot = make(cloud())
    clicked, dragged, released = map(Heard, (plot.clicked, plot.dragged, plot.released))
    before = plot.viewRange()

    drag(qtbot, plot, (-1, 0), (0, 0.5), (1, 1))

    assert not clicked
    np.testing.assert_allclose(dragged[-1][0], (1, 1), atol=0.05)
    ((point, unit),) = released
    np.testing.assert_allclose(point, (1, 1), atol=0.05)
    assert len(unit) == 2
    assert plot.viewRange() == before


def test_a_drag_beyond_the_border_stays_on_the_map(make, qtbot):
    plot = make(cloud())
    released = Heard(plot.released)
    (left, right), _ = plot.viewRange()

    drag(qtbot, plot, (0, 0), (right - 0.2, 0), (right + 0.2, 0))

    assert released[0][0][0] == pytest.approx(right, abs=0.05)


@pytest.mark.parametrize("tool", ["decode", "lasso"])
@pytest.mark.parametrize(("button", "modifier"), [(RIGHT, NONE), (MIDDLE, NONE), (LEFT, SHIFT)])
def test_the_map_moves_with_what_is_under_the_mouse(make, qtbot, tool, button, modifier):
    plot = make(cloud())
    plot.tool = tool
    told = [Heard(s) for s in (plot.clicked, plot.dragged, plot.released, plot.lassoed)]
    start, end = pixel(plot, 0, 0), pixel(plot, 1, 0.5)

    drag(qtbot, plot, (0, 0), (0.5, 0.2), (1, 0.5), button=button, modifier=modifier)

    here = plot.view.mapSceneToView(plot.mapToScene(end))
    np.testing.assert_allclose((here.x(), here.y()), (0, 0), atol=0.06)
    assert start != end
    assert told == [[], [], [], []]


def test_space_makes_the_left_button_move_the_map(make, qtbot):
    plot = make(cloud())
    dragged = Heard(plot.dragged)
    before = np.array(plot.viewRange())

    qtbot.keyPress(plot, Qt.Key.Key_Space)
    drag(qtbot, plot, (0, 0), (0.5, 0), (1, 0))
    qtbot.keyRelease(plot, Qt.Key.Key_Space)

    assert not dragged
    np.testing.assert_allclose(plot.viewRange()[0], before[0] - 1, atol=0.06)
    drag(qtbot, plot, (0, 0), (0.5, 0), (1, 0))
    assert dragged


def test_the_wheel_zooms_about_the_mouse(make, qtbot):
    plot = make(cloud())
    place = pixel(plot, 1, 1)
    before = np.ptp(plot.viewRange(), axis=1)

    viewport = plot.viewport()
    event = QWheelEvent(
        QPointF(place),
        QPointF(viewport.mapToGlobal(place)),
        QPoint(),
        QPoint(0, 480),
        Qt.MouseButton.NoButton,
        NONE,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(viewport, event)

    assert np.all(np.ptp(plot.viewRange(), axis=1) < before)
    here = plot.view.mapSceneToView(plot.mapToScene(place))
    np.testing.assert_allclose((here.x(), here.y()), (1, 1), atol=0.06)


@pytest.mark.parametrize("how", ["double click", "key"])
def test_everything_can_be_shown_again(make, qtbot, how):
    plot = make(cloud())
    home = plot.viewRange()
    plot.setRange(xRange=(0, 0.1), yRange=(0, 0.1), padding=0)

    if how == "key":
        qtbot.keyClick(plot, Qt.Key.Key_A)
    else:
        qtbot.mouseDClick(plot.viewport(), LEFT, pos=plot.viewport().rect().center())
        qtbot.mouseRelease(plot.viewport(), LEFT, pos=plot.viewport().rect().center())

    np.testing.assert_allclose(plot.viewRange(), home)


def test_far_outliers_are_shown_at_the_second_call(make):
    points = cloud(4000)
    points[7] = (500, -300)
    plot = make(points)
    assert plot.viewRange()[0][1] < 10

    plot.show_all()
    assert plot.viewRange()[0][1] > 500
    assert plot.viewRange()[1][0] < -300

    plot.show_all()
    assert plot.viewRange()[0][1] < 10


# Drawing with the mouse


def test_a_lasso_is_the_line_that_was_drawn(make, qtbot):
    plot = make(cloud())
    plot.tool = "lasso"
    lassoed, clicked = Heard(plot.lassoed), Heard(plot.clicked)
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]

    drag(qtbot, plot, *corners)

    ((polygon,),) = lassoed
    np.testing.assert_allclose(polygon, corners, atol=0.06)
    assert not clicked
    # The line is gone: what it means is for others to show.
    assert plot.view.stroke.path().isEmpty()


def test_a_rectangle_has_four_corners_whichever_way_it_was_drawn(make, qtbot):
    plot = make(cloud())
    plot.tool = "rectangle"
    lassoed = Heard(plot.lassoed)

    drag(qtbot, plot, (1, 0.5), (0, 0), (-1, -1.5))

    ((polygon,),) = lassoed
    np.testing.assert_allclose(polygon, [(-1, -1.5), (1, -1.5), (1, 0.5), (-1, 0.5)], atol=0.06)


def test_a_path_goes_from_its_beginning_to_its_end(make, qtbot):
    plot = make(cloud())
    plot.tool = "path"
    drawn, lassoed = Heard(plot.path_drawn), Heard(plot.lassoed)

    drag(qtbot, plot, (1, 0.5), (0, 0), (-1, 1.5))

    ((path,),) = drawn
    np.testing.assert_allclose(path, [(1, 0.5), (0, 0), (-1, 1.5)], atol=0.06)
    assert not lassoed


def test_escape_gives_up_a_stroke(make, qtbot):
    plot = make(cloud())
    plot.tool = "lasso"
    lassoed = Heard(plot.lassoed)
    viewport = plot.viewport()

    qtbot.mousePress(viewport, LEFT, pos=pixel(plot, -1, -1))
    for place in ((1, -1), (1, 1)):
        qtbot.wait(15)
        move(viewport, pixel(plot, *place), LEFT)
    assert not plot.view.stroke.path().isEmpty()
    qtbot.keyClick(plot, Qt.Key.Key_Escape)
    assert plot.view.stroke.path().isEmpty()
    qtbot.wait(15)
    move(viewport, pixel(plot, -1, 1), LEFT)
    qtbot.mouseRelease(viewport, LEFT, pos=pixel(plot, -1, 1))

    assert not lassoed
    drag(qtbot, plot, (-1, -1), (1, -1), (1, 1))
    assert len(lassoed) == 1


def test_another_tool_in_the_middle_of_a_drag_ends_it(make, qtbot):
    plot = make(cloud())
    told = [Heard(s) for s in (plot.released, plot.lassoed)]
    viewport = plot.viewport()

    qtbot.mousePress(viewport, LEFT, pos=pixel(plot, -1, -1))
    qtbot.wait(15)
    move(viewport, pixel(plot, 1, -1), LEFT)
    plot.tool = "lasso"
    qtbot.wait(15)
    move(viewport, pixel(plot, 1, 1), LEFT)
    qtbot.mouseRelease(viewport, LEFT, pos=pixel(plot, 1, 1))

    assert told == [[], []]


def test_a_click_with_the_lasso_selects_nothing(make, qtbot):
    plot = make(cloud())
    plot.tool = "lasso"
    told = [Heard(s) for s in (plot.clicked, plot.lassoed)]

    qtbot.mouseClick(plot.viewport(), LEFT, pos=pixel(plot, 0, 0))

    assert told == [[], []]


def test_a_map_without_particles_tells_nothing(make, qtbot):
    plot = make()
    told = [Heard(s) for s in (plot.clicked, plot.dragged, plot.released)]

    qtbot.mouseClick(plot.viewport(), LEFT, pos=plot.viewport().rect().center())
    drag(qtbot, plot, (0.2, 0.2), (0.5, 0.5), (0.7, 0.5))
    plot.show_all()
    plot.set_values(None)
    plot.set_mask(None)

    assert told == [[], [], []]


# One axis


def test_one_axis_gives_points_with_one_entry(make, qtbot):
    plot = make(cloud(dimensions=1))
    clicked, dragged, drawn = map(Heard, (plot.clicked, plot.dragged, plot.path_drawn))
    assert plot.bars.isVisible()

    qtbot.mouseClick(plot.viewport(), LEFT, pos=pixel(plot, 1.0, 5))
    drag(qtbot, plot, (0, 5), (0.5, 5), (1, 8))
    plot.tool = "path"
    drag(qtbot, plot, (-1, 5), (0.5, 5), (1, 8))

    assert [len(told[0]) for told in (*clicked, *dragged)] == [1] * (1 + len(dragged))
    np.testing.assert_allclose(drawn[0][0], [[-1], [1]], atol=0.06)


@pytest.mark.parametrize("tool", ["lasso", "rectangle"])
def test_on_one_axis_a_range_is_selected(make, qtbot, tool):
    plot = make(cloud(dimensions=1))
    plot.tool = tool
    lassoed = Heard(plot.lassoed)

    drag(qtbot, plot, (1, 5), (0.5, 6), (-0.5, 7))

    ((polygon,),) = lassoed
    np.testing.assert_allclose(polygon[:, 0], (-0.5, 1, 1, -0.5), atol=0.06)
    # Particles lie at 0 of the other axis.
    assert (polygon[:2, 1] < 0).all()
    assert (polygon[2:, 1] > 0).all()


def test_all_bars_are_in_view_and_do_not_fall_below_the_axis(make):
    plot = make(cloud(dimensions=1))

    low, high = plot.viewRange()[1]

    assert low == 0
    assert high > plot.bars.opts["height"].max()


def test_large_counts_are_written_short(make):
    plot = make(cloud(60_000, dimensions=1))
    axis = plot.getAxis("left")

    assert axis.tickStrings([0, 15_000], 1, 5_000) == ["0", "15k"]
    assert axis.tickStrings([0, 1500], 1, 500) == ["0", "1500"]


# What is drawn


def test_points_keep_their_order(make):
    points = cloud()

    plot = make(points)

    np.testing.assert_allclose(np.transpose(plot.points.getData()), points)


def test_one_particle_is_in_view(make):
    plot = make(np.array([[3.0, 4.0]], np.float32))

    (left, right), (bottom, top) = plot.viewRange()
    assert left < 3 < right
    assert bottom < 4 < top


def dot_colors(plot) -> list[str]:
    return [plot.points.colors[c].name() for c in plot.points.codes]


def test_values_colour_the_points_and_are_told_in_the_legend(make):
    plot = make(cloud())
    assert plot.legend.title == ""

    plot.set_values(numbers())
    first = dot_colors(plot)
    assert plot.legend.title == "defocus (µm)"
    assert plot.legend.ends == ("≤ 1.01", "≥ 1.99")
    assert len(set(first)) > 50

    plot.set_values(numbers(), (1.0, 2.0))
    assert plot.legend.ends == ("1.0", "2.0")
    plot.set_values(categories())
    assert len(set(dot_colors(plot))) == 3
    assert plot.legend.names == ("cluster 0", "cluster 1", "cluster 2")
    plot.set_values(None)
    assert len(set(dot_colors(plot))) == 1
    assert plot.legend.title == ""


def test_masked_points_are_faint_and_lie_below(make):
    points = cloud()
    plot = make(points)
    faint = np.arange(400) % 2 == 0

    plot.set_mask(faint)

    x, _ = plot.points.getData()
    np.testing.assert_allclose(x, np.concatenate([points[faint, 0], points[~faint, 0]]))
    first, *_, last = (plot.points.colors[c] for c in plot.points.codes)
    assert first.alpha() < last.alpha()


def test_selected_points_are_on_top(make):
    points = cloud()
    plot = make(points)

    plot.set_selection(points[:, 0] > 0.5)
    x, _ = plot.particles.chosen.getData()
    np.testing.assert_allclose(np.sort(x), np.sort(points[points[:, 0] > 0.5, 0]))

    plot.set_selection(None)
    assert not plot.particles.chosen.isVisible()


def test_colours_stay_with_the_particles_but_not_with_others(make):
    plot = make(cloud())
    plot.set_values(numbers())

    plot.set_points(cloud(seed=1), ("PC1", "PC3"))
    assert plot.legend.title == "defocus (µm)"

    plot.set_points(cloud(300), ("PC1", "PC3"))
    assert plot.legend.title == ""


def test_a_view_that_shows_everything_goes_on_to_do_so(make):
    plot = make(cloud())

    plot.set_points(10 * cloud(), ("PC1", "PC2"), keep_view=True)

    assert plot.viewRange()[0][1] > 15


def test_marks_path_and_centres_are_drawn_and_go_with_the_points(make):
    plot = make(cloud())

    plot.mark((0, 1), (0.1, 1.1))
    plot.set_path(np.array([[0, 0], [1, 1], [1, 2]]))
    plot.set_centres(np.array([[0.0, 1.0], [1.0, 0.0]]), ("open", "closed"))
    marks = plot.marks
    items = (marks.here, marks.nearest, marks.path, marks.path_dots, marks.path_end)
    assert all(item.isVisible() for item in items)
    assert [n.toPlainText() for n in marks._names] == ["open", "closed"]
    plot.mark((0, 1))
    assert not marks.nearest.isVisible()

    plot.set_points(cloud(seed=2), ("PC1", "PC2"))
    assert not any(item.isVisible() for item in items)
    assert not marks._names


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_theme_is_followed_with_everything_drawn(make, theme):
    plot = make(cloud(3000), theme="light" if theme == "dark" else "dark")
    plot.set_centres(np.zeros((1, 2)), ("one",))
    assert plot.legend.ends == ("few", "many")

    plot.set_colors(colors(theme))

    assert plot.backgroundBrush().color().name() == colors(theme).background
    assert plot.marks._names[0].color.name() == colors(theme).text


def test_a_dot_has_its_colour_at_its_place(make):
    points = np.array([[0, 0], [1, 1], [0, 1], [1, 0]], np.float32)
    plot = make(points)
    two = SimpleNamespace(
        name="kind", data=np.array([0, 0, 1, 1], np.int32), labels=("a", "b"), unit=""
    )

    plot.set_values(two)
    plot.setRange(xRange=(-1, 1.5), yRange=(-1, 1.5), padding=0)
    image = plot.viewport().grab().toImage()

    seen = [image.pixelColor(pixel(plot, *point)) for point in points.tolist()]
    background = image.pixelColor(pixel(plot, 0.5, 0.5))
    assert background.name() == colors("dark").background
    assert seen[0] == seen[1] != seen[2] == seen[3]
    # Blue and orange.
    assert seen[0].blue() > seen[0].red()
    assert seen[2].blue() < seen[2].red()


# Many particles


@pytest.fixture
def many(monkeypatch) -> None:
    monkeypatch.setattr(latent_plot, "MANY", 1000)
    monkeypatch.setattr(latent_plot, "SAMPLE", 300)


@pytest.fixture
def background(qtbot):
    gui = GuiThread()
    background = Background(gui.post)
    yield background
    background.close()


def test_many_particles_are_drawn_by_a_worker_again_for_what_is_in_view(
    make, qtbot, many, background
):
    points = cloud(5000)
    plot = make(points, ask=background.ask)
    qtbot.waitUntil(plot.density.isVisible)
    first = plot.particles._picture

    plot.setRange(xRange=(0, 0.1), yRange=(0, 0.1), padding=0)
    qtbot.waitUntil(lambda: not plot.density.isVisible())

    # So few that all of them are points.
    assert plot.particles._picture is not first
    inside = ((points > 0) & (points < 0.1)).all(axis=1)
    assert inside.sum() <= len(plot.points.getData()[0]) <= 300
    plot.show_all()
    qtbot.waitUntil(plot.density.isVisible)


def test_a_small_move_needs_no_new_picture(make, qtbot, many, background):
    plot = make(cloud(5000), ask=background.ask)
    plot.setRange(xRange=(-1, 1), yRange=(-1, 1), padding=0)
    qtbot.waitUntil(lambda: plot.particles._picture is not None)
    qtbot.wait(200)
    before = plot.particles._picture

    plot.view.translateBy(x=0.1)
    qtbot.wait(150)
    assert plot.particles._picture is before

    plot.view.translateBy(x=1.5)
    qtbot.waitUntil(lambda: plot.particles._picture is not before)


def test_what_comes_too_late_is_not_drawn(make, qtbot, many):
    questions = []
    plot = make(cloud(5000), ask=lambda *question: questions.append(question))
    _, job, done, _ = questions[-1]

    plot.set_points(cloud(100), ("PC1", "PC2"))
    done(job())
    assert not plot.density.isVisible()
    assert len(plot.points.getData()[0]) == 100

    plot.set_points(cloud(5000, dimensions=1), ("z0",))
    _, job, done, _ = questions[-1]
    plot.set_points(cloud(100), ("PC1", "PC2"))
    done(job())
    assert not plot.bars.isVisible()


def test_values_mask_and_selection_of_many_particles_are_in_the_image(make, many):
    points = cloud(5000)
    plot = make(points)
    plain = plot.density.image.copy()

    plot.set_values(numbers(5000))
    coloured = plot.density.image.copy()
    assert not np.array_equal(coloured, plain)
    plot.set_mask(points[:, 0] > 0)
    masked = plot.density.image.copy()
    assert not np.array_equal(masked, coloured)
    plot.set_selection(points[:, 1] > 0)
    assert not np.array_equal(plot.density.image, masked)


def test_a_click_falls_through_points_on_top(make, qtbot, many):
    points = cloud(5000)
    plot = make(points)
    clicked = Heard(plot.clicked)
    x, y = (c[0] for c in plot.points.getData())

    qtbot.mouseClick(plot.viewport(), LEFT, pos=pixel(plot, x, y))

    assert len(clicked) == 1


# The buttons


def test_buttons_and_keys_choose_the_tool(make, qtbot):
    plot = make(cloud())
    tools = MapTools(plot, colors("dark"))
    qtbot.addWidget(tools)
    tools.show()

    qtbot.mouseClick(tools.buttons["lasso"], LEFT)
    assert plot.tool == "lasso"
    assert plot.view.cursor().shape() == Qt.CursorShape.CrossCursor

    qtbot.keyClick(plot, Qt.Key.Key_P)
    assert plot.tool == "path"
    assert tools.buttons["path"].isChecked()
    assert not tools.buttons["lasso"].isChecked()

    plot.setRange(xRange=(0, 0.1), yRange=(0, 0.1), padding=0)
    qtbot.mouseClick(tools.buttons["all"], LEFT)
    assert plot.viewRange()[0][1] > 1
    assert tools.minimumSizeHint().width() < 340
    with pytest.raises(ValueError, match="no tool 'brush'"):
        plot.tool = "brush"


# The legend


def test_names_without_room_are_counted(make):
    plot = make(cloud())
    many_names = categories(k=60)

    plot.set_values(many_names)
    plot.grab()

    placed = plot.legend._placed()
    assert placed[-1][2] == f"+{60 - (len(placed) - 1)} more"
    assert max(row for _, row, _ in placed) == 1
    assert max(x for x, _, _ in placed) < plot.width()


def test_angles_begin_again_at_the_end(make):
    plot = make(cloud())
    data = np.linspace(-179, 179, 400, dtype=np.float32)

    plot.set_values(SimpleNamespace(name="psi", data=data, labels=None, unit="°"))
    plot.grab()

    assert plot.legend.ends == ("-180", "180")
    first, *_, last = dot_colors(plot)
    assert np.ptp([int(c[1:3], 16) for c in (first, last)]) < 12
