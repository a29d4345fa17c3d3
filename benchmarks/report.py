"""The results as a page of tables and as plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .rows import Entry, Row

Results = dict[str, dict[str, Any]]
_MOVING = ("swing64", "adk64", "two_states", "two_motions")
_HEAD = """# Results

Written by `make bench`. Every figure is of the run described, ours and cryodrgn 4.3.1 on the same
images in the same run; sets are simulated from seeds that were not used to choose a setting
(`benchmarks/sets.py`). Times are wall-clock seconds from the images on disk to the finished run
folder. "Within t" is the rotation error after one alignment for each group of particles of similar
conformation: where a domain moves, the frame that images are aligned to turns with it.
"""


def markdown(rows: dict[str, Row], results: Results) -> str:
    """The whole page."""
    lines = [
        _HEAD,
        "| row | work | goal | we want | reached | minutes |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        if name in results:
            entries = results[name]["entries"]
            minutes = sum(e["minutes"] for e in entries)
            lines.append(
                f"| [{name}](#{name}) | {row.work} | {row.goal} | {row.want} | "
                f"{_reached(row, entries)} | {minutes:.0f} |"
            )
    moving = [e for name in _MOVING for e in _good(results.get(name, {}).get("entries", []))]
    if moving:
        called = sum(e["says_still"] for e in moving)
        lines += ["", f"Moving sets that were called still: {called} of {len(moving)} (goal: 0)."]
    for name, row in rows.items():
        if name in results:
            lines += [
                "",
                f"## {name}",
                "",
                f"{row.work[0].upper()}{row.work[1:]}.",
                "",
                *_details(results[name]["entries"]),
            ]
            lines += ["", f"Hardware: {results[name]['hardware']}."]
    return "\n".join(lines) + "\n"


def _good(entries: list[Entry]) -> list[Entry]:
    return [e for e in entries if "error" not in e]


def _reached(row: Row, entries: list[Entry]) -> str:
    good = _good(entries)
    text = row.reached(good) if good else "nothing"
    return text if len(good) == len(entries) else f"{text} ({len(entries) - len(good)} failed)"


def _details(entries: list[Entry]) -> list[str]:
    """Numbers of each entry, one row per seed; for growth, one row per size."""
    if entries and "points" in entries[-1]:
        fits = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in entries[-1]["exponents"].items())
        return [
            "Seconds, and MiB of memory; a floor is what the operations or bytes alone would take.",
            "",
            *_table(entries[-1]["points"]),
            "",
            f"Exponents over the larger half of the sizes: {fits}.",
        ]
    plain = [{k: v for k, v in e.items() if not isinstance(v, dict | list)} for e in entries]
    lists = [
        f"Seed {e['seed']}, {k.replace('_', ' ')}: {v}."
        for e in entries
        for k, v in e.items()
        if k in ("warnings", "canonical_correlations") and v
    ]
    return [*_table(plain), *(["", *lists] if lists else [])]


def _table(entries: list[Entry]) -> list[str]:
    keys = list(dict.fromkeys(k for e in entries for k in e))
    return [
        "| " + " | ".join(k.replace("_", " ") for k in keys) + " |",
        "|" + "---|" * len(keys),
        *("| " + " | ".join(_text(e.get(k)) for k in keys) + " |" for e in entries),
    ]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def plots(results: Results, folder: Path) -> None:
    """What can be drawn of the results, as PNG files."""
    import matplotlib

    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    _plot_curve(results, folder / "bench-adk.png")
    _plot_motion(results, folder / "bench-motion.png")
    _plot_growth(results, folder / "bench-growth.png")


def _plot_curve(results: Results, path: Path) -> None:
    """Rank correlation over processor time, ours and cryodrgn's."""
    from matplotlib import pyplot

    entries = _good(results.get("adk_given", {}).get("entries", []))
    if not entries:
        return
    figure, axes = pyplot.subplots(figsize=(5, 3.2), layout="constrained")
    for key, label, colour in (
        ("curve", "napari-cryodrgn", "C0"),
        ("cryodrgn_curve", "cryodrgn 4.3.1 train_vae", "C1"),
    ):
        for i, entry in enumerate(entries):
            seconds, rank = zip(*entry[key], strict=True)
            axes.plot(seconds, rank, "o-", ms=3, color=colour, label=None if i else label)
    axes.axhline(0.87, color="0.6", lw=0.8, ls="--")
    axes.set(xscale="log", xlabel="CPU seconds", ylabel="|Spearman| with the true motion")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _plot_motion(results: Results, path: Path) -> None:
    """Rank correlation and share of good poses of each seed, from nothing, with the goals."""
    from matplotlib import pyplot

    sets = {"swing64": (0.94, 0.99), "adk64": (0.92, 0.80)}
    found = {n: _good(results.get(n, {}).get("entries", [])) for n in sets}
    if not any(found.values()):
        return
    figure, panels = pyplot.subplots(1, 2, figsize=(6, 3), layout="constrained")
    keys = ("spearman", "under_10_degrees_within_t")
    titles = ("|Spearman| with the true motion", "poses under 10 degrees")
    for panel, axes in enumerate(panels):
        for x, (name, goals) in enumerate(sets.items()):
            values = [e[keys[panel]] for e in found[name]]
            axes.plot([x] * len(values), values, "o", color=f"C{x}", alpha=0.7)
            axes.hlines(goals[panel], x - 0.3, x + 0.3, color="0.4", ls="--", lw=0.8)
        axes.set(xticks=range(len(sets)), xticklabels=sets, title=titles[panel], ylim=(0, 1.02))
        axes.set_xlim(-0.6, len(sets) - 0.4)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _plot_growth(results: Results, path: Path) -> None:
    """Times over sizes, each with its floor."""
    from matplotlib import pyplot

    rows = {
        "growth_particles": ("load", "back_projection"),
        "growth_box": ("load", "back_projection", "search_per_image"),
        "growth_clusters": ("search_per_image",),
    }
    found = {n: _good(results.get(n, {}).get("entries", [])) for n in rows}
    if not any(found.values()):
        return
    figure, panels = pyplot.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    for axes, (name, keys) in zip(panels, rows.items(), strict=True):
        axes.set_visible(bool(found[name]))
        if not found[name]:
            continue
        entry = found[name][-1]
        x = [p[entry["axis"]] for p in entry["points"]]
        for key in keys:
            colour = {"load": "C0", "back_projection": "C1"}.get(key, "C2")
            axes.plot(
                x,
                [p[key] for p in entry["points"]],
                "o-",
                color=colour,
                label=key.replace("_", " "),
            )
            axes.plot(x, [p[f"{key}_floor"] for p in entry["points"]], ":", color=colour)
        axes.plot([], [], ":", color="0.4", label="floor")
        axes.set(xscale="log", yscale="log", xlabel=entry["axis"], ylabel="seconds")
        axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
