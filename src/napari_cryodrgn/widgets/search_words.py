"""What the search for a pose has found, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..analysis.pose_evidence import PoseEvidence

# A peak is sharp if the pose is known to within this many degrees.
_SHARP = 5.0
# Share of the posterior from which a peak counts.
_COUNTS = 0.05
# Among how many poses there must be doubt for the pose not to be known.
_MANY = 4.5
# The run's pose is as good as the best within the region that holds 99 % of the posterior.
_TAIL = 0.01
# Peaks lie so many degrees apart.
_APART = 10.0
# Shares of volumes that are told.
_TOLD, _LEAST = 3, 0.005


def verdict(found: PoseEvidence) -> str:
    """One sharp peak, a broad one, or several."""
    peaks = sorted(found.posterior.peaks, key=lambda peak: -peak.mass)
    counted = [f"{100 * peak.mass:.0f} %" for peak in peaks if peak.mass >= _COUNTS]
    poses = found.posterior.effective_poses
    if poses > _MANY:
        return (
            f"<b>The pose is not known</b>: about {poses:.0f} poses fit equally well (the best "
            f"holds {100 * peaks[0].mass:.0f} %). If Evidence shows no agreement either, the "
            "volume is wrong, not the pose."
        )
    if len(counted) > 1:
        return (
            f"<b>{len(counted)} separate poses fit</b>, with {' and '.join(counted)} of the "
            f"posterior: as much doubt as among {poses:.1f} poses."
        )
    kind = "sharp" if peaks[0].width < _SHARP else "broad"
    return (
        f"<b>One {kind} peak</b>, {peaks[0].width:.1f}° wide in rotation and "
        f"{peaks[0].shift_width:.2g} px in shift."
    )


def doubt(found: PoseEvidence) -> str:
    """Numbers of the posterior and of the run's pose, for those who want them."""
    posterior, difference = found.posterior, found.difference
    text = (
        f"Entropy of the peaks: {abs(posterior.entropy):.2f} nats, as among "
        f"{posterior.effective_poses:.1f} poses.\n"
        f"The whole posterior is {posterior.width:.1f}° wide; its {len(posterior.weights):,} draws "
        f"are worth {posterior.effective_draws:,.0f} of equal weight."
    )
    if difference is None or found.score is None:
        return text
    return (
        f"{text}\nThe run's pose: {difference.out_of_plane:.1f}° from the best out of the plane, "
        f"{difference.in_plane:.1f}° in it, {difference.shift:.2f} px; log-likelihood "
        f"{found.score - posterior.peaks[0].score:+.1f}."
    )


def about_own(found: PoseEvidence) -> str:
    """Whether the run's pose is as good as the best one."""
    difference, tail = found.difference, found.own_tail
    if difference is None or found.score is None or tail is None:
        return "The run has saved no poses yet."
    away, best = difference.angle, found.posterior.peaks[0]
    if tail < _TAIL:
        less = best.score - found.score
        return (
            f"<b>The run's pose is worse</b>: {away:.{_digits(away)}f}° and "
            f"{difference.shift:.1f} px away, e<sup>{less:.0f}</sup> times less likely. Refine the "
            "poses, or the volume is wrong."
        )
    if found.posterior.effective_poses > _MANY:
        return "The run's pose is one of them."
    what = "another peak" if away > _APART else f"the peak is {best.width:.1f}° wide"
    return f"<b>The run's pose is as good as the best</b> ({away:.{_digits(away)}f}° away; {what})."


def about_volumes(found: PoseEvidence, own: int | None) -> str:
    """Which of several volumes explain the image; empty if there is one.

    ``own`` is the cluster that the particle's latent lies in.
    """
    shares = found.state_shares
    if len(shares) < 2:
        return ""
    order = sorted(range(len(shares)), key=lambda i: -shares[i])[:_TOLD]
    told = ", ".join(
        f"cluster {i + 1}: {100 * shares[i]:.0f} %" for i in order if shares[i] >= _LEAST
    )
    latent = "" if own is None else f" (its latent lies in cluster {own + 1})"
    return f"Volumes that explain it: {told}{latent}."


def about_level(found: PoseEvidence, level: int) -> str:
    """What happened at a level of the search; the posterior beyond the last."""
    if level >= len(found.levels):
        return (
            f"Posterior: {len(found.posterior.weights):,} poses drawn around all that the search "
            "left."
        )
    traced = found.levels[level]
    run = found.images.run
    resolution = ""
    if run.pixel_size is not None:
        resolution = f" ({run.box * run.pixel_size / traced.limit:.0f} Å)"
    return (
        f"Level {level} of {len(found.levels) - 1}, to {traced.limit:.0f} cycles per box"
        f"{resolution}: {traced.scored:,} poses compared, {len(traced.scores)} kept by number, "
        f"{traced.by_bound} of them then dropped by the bound."
    )


def _digits(angle: float) -> int:
    return 0 if angle >= _APART else 1
