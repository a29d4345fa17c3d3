"""Rows about molecules that move, and about those that do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from napari_cryodrgn.analysis import Run
from napari_cryodrgn.poses import SearchSettings
from napari_cryodrgn.training.consensus import PoseAssignment, search_all
from napari_cryodrgn.training.state import RunFolder

from .peer import train_vae_until
from .rows import Bench, Entry, Row, share, span
from .scores import canonical_correlations, pose_errors, rank_correlation, state_accuracy
from .sets import Truth
from .train import Outcome
from .volumes import dataset, difference_errors, nearest_frames

# The rank correlation at which processor time is compared with cryodrgn's.
COMPARED_AT = 0.87
# cryodrgn is ended when it has had so many times our processor time.
_ENOUGH = 22.0


def says_still(warnings: list[str]) -> bool:
    """Whether a run told that it found no heterogeneity."""
    return any("not reproducible" in w for w in warnings)


def _latents(outcome: Outcome) -> np.ndarray:
    assert outcome.run.latents is not None
    return outcome.run.latents.mu


def adk_given(bench: Bench, seed: int) -> Entry:
    """Latents and volumes at given poses; processor time to a rank correlation of 0.87."""
    star, truth = bench.make("adk64", seed)
    ours = bench.train(star, poses="given", zdim=1, seed=seed)
    ranks = [(cpu, s, rank_correlation(mu, truth.t)) for s, cpu, mu in ours.latents]
    level = 0.0 if bench.tiny else COMPARED_AT
    reached = next(((cpu, s) for cpu, s, rank in ranks if rank >= level), (None, None))
    most = _ENOUGH * (reached[0] or ours.cost["cpu_seconds"])
    peer = train_vae_until(star, bench.folder / "cryodrgn", truth, level, seed, most)
    entry: Entry = {
        "spearman": round(rank_correlation(_latents(ours), truth.t), 4),
        "nearest_own_frame": nearest_frames(ours.run, truth),
        "cpu_seconds_to_level": reached[0] and round(reached[0], 1),
        "seconds_to_level": reached[1] and round(reached[1], 1),
        "curve": [(round(cpu, 1), round(rank, 4)) for cpu, _, rank in ranks],
        **{f"cryodrgn_{k}": v for k, v in peer.items()},
        **ours.cost,
    }
    if reached[0]:
        entry["cpu_ratio_at_least"] = round(peer["cpu_seconds"] / reached[0], 1)
    return entry


def _from_nothing(bench: Bench, name: str, seed: int, zdim: int = 1) -> tuple[Path, Truth, Outcome]:
    star, truth = bench.make(name, seed)
    return star, truth, bench.train(star, poses="search", zdim=zdim, seed=seed)


def _poses(outcome: Outcome, truth: Truth) -> Entry:
    assert outcome.run.rotations is not None
    return {
        **pose_errors(outcome.run.rotations, truth.rotations, truth.coordinates),
        "says_still": says_still(outcome.warnings),
        **outcome.cost,
    }


def one_motion(name: str, bench: Bench, seed: int) -> Entry:
    """Poses and one motion from nothing, and the volumes that come of it."""
    star, truth, ours = _from_nothing(bench, name, seed)
    return {
        "spearman": round(rank_correlation(_latents(ours), truth.t), 4),
        **difference_errors(ours.run, star, truth),
        **_searched_again(ours.run, star, truth),
        **_poses(ours, truth),
    }


def _searched_again(run: Run, star: Path, truth: Truth, n: int = 1000) -> Entry:
    """Median rotation error of some particles before and after a search against decoded volumes.

    The search is that of the run's last round, with its noise, but against nine states.
    """
    assert run.latents is not None
    assert run.rotations is not None
    data = dataset(star)
    noise = RunFolder(run.folder).load().noise
    assert noise is not None
    data.noise = noise
    ranks = (np.arange(9) + 0.5) / 9
    states = np.quantile(run.latents.mu[:, 0], ranks).astype(np.float32)
    volumes = torch.stack([torch.from_numpy(run.decode([z])) for z in states]) * data.scale
    settings = SearchSettings(
        first_limit=10.0,
        last_limit=min(16.0, data.lattice.limit),
        levels=3,
        keep=(16, 8, 4, 3),
        max_shift=0.08 * data.box,
        shift_step=data.box / 25.6,
    )
    index = torch.arange(min(n, len(data)))
    found = list(search_all(data, volumes, settings, index))[-1]
    assert isinstance(found, PoseAssignment)
    some = slice(0, len(index))
    t = truth.coordinates[some]
    before = pose_errors(run.rotations[some], truth.rotations[some], t)
    after = pose_errors(found.rotations.numpy(), truth.rotations[some], t)
    return {
        "researched_before_degrees": before["median_degrees_within_t"],
        "researched_after_degrees": after["median_degrees_within_t"],
    }


def swing64(bench: Bench, seed: int) -> Entry:
    """A swinging domain."""
    return one_motion("swing64", bench, seed)


def adk64(bench: Bench, seed: int) -> Entry:
    """Adenylate kinase."""
    return one_motion("adk64", bench, seed)


def two_states(bench: Bench, seed: int) -> Entry:
    """Two states, half and half, from nothing."""
    _, truth, ours = _from_nothing(bench, "two_states", seed)
    accuracy = state_accuracy(_latents(ours), truth.coordinates[:, 0])
    return {"accuracy": round(accuracy, 4), **_poses(ours, truth)}


def two_motions(bench: Bench, seed: int) -> Entry:
    """Two independent motions from nothing, zdim 2."""
    _, truth, ours = _from_nothing(bench, "two_motions", seed, zdim=2)
    correlations = canonical_correlations(_latents(ours), truth.coordinates)
    return {"canonical_correlations": correlations, **_poses(ours, truth)}


def still(bench: Bench, seed: int) -> Entry:
    """A molecule that does not move: by turns the ribosome, an invented body, AdK."""
    name = ("still_ribosome", "still_body", "still_adk")[seed % 3]
    _, truth, ours = _from_nothing(bench, name, seed)
    assert ours.run.rotations is not None
    return {
        "set": name,
        "says_still": says_still(ours.warnings),
        **pose_errors(ours.run.rotations, truth.rotations),
        **ours.cost,
    }


def _reached_given(entries: list[Entry]) -> str:
    return (
        f"Spearman {span(entries, 'spearman')} in {span(entries, 'seconds', '{:.0f}')} s; "
        f"at least {span(entries, 'cpu_ratio_at_least', '{:.1f}')} x less CPU (cryodrgn was at "
        f"{span(entries, 'cryodrgn_spearman')} then); nearest its own frame "
        f"{share(entries, lambda e: e['nearest_own_frame'])}"
    )


def _percent(entries: list[Entry], key: str) -> str:
    values = [100 * e[key] for e in entries]
    return f"{min(values):.1f} to {max(values):.1f} %"


def _reached_motion(entries: list[Entry]) -> str:
    return (
        f"Spearman {span(entries, 'spearman')}; {_percent(entries, 'under_10_degrees')} under 10 "
        f"degrees ({_percent(entries, 'under_10_degrees_within_t')} within t); "
        f"{span(entries, 'seconds', '{:.0f}')} s; difference "
        f"{span(entries, 'difference_decoded')} (binned {span(entries, 'difference_binned')}); "
        f"searched again {span(entries, 'researched_after_degrees')}° "
        f"(before {span(entries, 'researched_before_degrees')}°); says it moves "
        f"{share(entries, lambda e: not e['says_still'])}"
    )


def _reached_two_motions(entries: list[Entry]) -> str:
    listed = "; ".join(" and ".join(map(str, e["canonical_correlations"])) for e in entries)
    return f"canonical correlations {listed}; {span(entries, 'seconds', '{:.0f}')} s"


ROWS = {
    "adk_given": Row(
        "AdK trajectory, 3,000 images, D = 64, SNR 0.1, poses given",
        "Spearman 0.90 in 60 s; 20 x less CPU than train_vae to 0.87; decoded volumes nearest "
        "their own frame",
        "0.95; 40 x",
        (1000,),
        adk_given,
        _reached_given,
    ),
    "swing64": Row(
        "swinging domain, 4,000 images, D = 64, SNR 0.1, no poses",
        "Spearman 0.94, 99 % under 10 degrees, 4 of 5 seeds, 5 minutes; difference 0.22",
        "0.97, 2 minutes; 0.15",
        (1002, 1003, 1004, 1005, 1006),
        swing64,
        _reached_motion,
    ),
    "adk64": Row(
        "AdK trajectory, 3,000 images, D = 64, SNR 0.1, no poses",
        "Spearman 0.92, 80 % under 10 degrees, 5 minutes; difference 0.50",
        "0.96, 90 %, 2 minutes; 0.40",
        (1000, 1001),
        adk64,
        _reached_motion,
    ),
    "two_states": Row(
        "two states, half and half, 3,000 images, D = 64, SNR 0.1, no poses",
        "90 % in their state",
        "95 %",
        (1000, 1001),
        two_states,
        lambda entries: (
            f"{span(entries, 'accuracy')} in their state; {span(entries, 'seconds', '{:.0f}')} s"
        ),
    ),
    "two_motions": Row(
        "two independent motions, 4,000 images, D = 64, SNR 0.1, no poses, zdim 2",
        "canonical correlations over 0.85",
        "0.95",
        (1000, 1001),
        two_motions,
        _reached_two_motions,
    ),
    "still": Row(
        "a still molecule, 2,000 images, D = 64, SNR 0.1, no poses, zdim 1",
        '"no heterogeneity" 5 of 5',
        "10 of 10",
        (1000, 1001, 1002, 1003, 1004),
        still,
        lambda entries: f"{share(entries, lambda e: e['says_still'])} called still",
    ),
}
