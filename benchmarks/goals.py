"""How each benchmark reads in RESULTS.md, with the goal beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Report = Callable[[dict[str, Any]], list[str]]


def _ribosome(figures: dict[str, Any]) -> list[str]:
    rows = figures["rows"]
    good = sum(r["median_degrees"] < 6 for r in rows)
    quick = sum(r["seconds"] < 180 for r in rows)
    lines = [
        "## One structure from nothing: 70S ribosome",
        "",
        "1,000 simulated particles, box 32, 10 Å/px, SNR 0.1 (variance over the whole image), CTF, "
        "shifts to 2 px, no poses given, zdim 0. The seed makes the set and starts the search.",
        "",
        "| seed | median rotation error | under 10 degrees | time | warned of failure |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['seed']} | {r['median_degrees']:.1f}° | {100 * r['under_10_degrees']:.0f} % "
        f"| {r['seconds']:.0f} s | {'yes' if r['warned'] else 'no'} |"
        for r in rows
    ]
    return [
        *lines,
        "",
        f"Goal: under 6 degrees for 4 of 5 seeds, under 3 minutes. Reached: {good} of {len(rows)} "
        f"under 6 degrees, {quick} of {len(rows)} under 3 minutes.",
        "",
    ]


def _adk(figures: dict[str, Any]) -> list[str]:
    lines = [
        "## Motion at given poses: adenylate kinase, closed to open",
        "",
        "3,000 simulated particles, box 64, 1.5 Å/px, SNR 0.1, CTF, shifts to 2 px, poses given, "
        "zdim 2.",
        "",
        "| seed | Spearman of z0, z1 with the true motion | of PC1 | time |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {r['seed']} | {', '.join(f'{s:.2f}' for s in r['spearman_axes'])} "
        f"| {r['spearman_pc1']:.2f} | {r['seconds']:.0f} s |"
        for r in figures["rows"]
    ]
    return [*lines, "", "Goal: over 0.8 (best axis or first PC), under 10 minutes.", ""]


def _decode(figures: dict[str, Any]) -> list[str]:
    times = ", ".join(f"{box}³ {1000 * s:.0f} ms" for box, s in figures["seconds"].items())
    return [
        "## Decoding a volume",
        "",
        f"Default decoder (width 128, 3 layers), median: {times}. Goal: 64³ under 500 ms.",
        "",
    ]


def _gui(figures: dict[str, Any]) -> list[str]:
    listed = "; ".join(f"{k.replace('_', ' ')} {v}" for k, v in figures.items() if k != "hardware")
    return [
        "## Event-loop gaps of the GUI while training",
        "",
        f"A 10 ms timer in a real viewer (Xvfb, software OpenGL) through a whole run: {listed}. "
        "Goal: no gap over 100 ms.",
        "",
    ]


REPORTS: dict[str, Report] = {"ribosome": _ribosome, "adk": _adk, "decode": _decode, "gui": _gui}
