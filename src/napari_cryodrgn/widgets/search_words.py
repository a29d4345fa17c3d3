"""What the search for a pose has found, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..analysis.pose_evidence import PoseEvidence

# A peak is sharp if the pose is known to within this many degrees.
_SHARP = 5.0
# Share of the posterior from which a peak counts.
_COUNTS = 0.05
# Shares of volumes that are told.
_TOLD, _LEAST = 3, 0.005


def verdict(found: PoseEvidence) -> str:
    """One sharp peak, a broad one, or several."""
    peaks = [peak for peak in found.posterior.peaks if peak.mass >= _COUNTS]
    if len(peaks) > 1:
        shares = ", ".join(
            f"{100 * share:.0f} %" for share in sorted((p.mass for p in peaks), reverse=True)
        )
        return f"{len(peaks)} separate poses hold 5 % or more: {shares}."
    if not peaks:
        n = len(found.posterior.peaks)
        return f"No pose holds 5 %: the image fits {n} separate poses about equally."
    kind = "sharp" if peaks[0].width < _SHARP else "broad"
    return (
        f"One {kind} peak, {peaks[0].width:.1f}° wide in rotation and "
        f"{peaks[0].shift_width:.2g} px in shift."
    )


def doubt(found: PoseEvidence) -> str:
    """How many poses are left, and how wide the whole posterior is."""
    posterior = found.posterior
    return (
        f"As much doubt as among {posterior.effective_poses:.1f} poses (entropy "
        f"{abs(posterior.entropy):.2f} nats); the whole posterior is {posterior.width:.1f}° wide."
    )


def about_own(found: PoseEvidence) -> str:
    """How far the run's pose is from the best one."""
    difference = found.difference
    if difference is None or found.score is None:
        return "The run has saved no poses yet."
    best = found.posterior.peaks[0].score
    return (
        f"The run's pose is {difference.angle:.1f}° from the best "
        f"({difference.out_of_plane:.1f}° out of the plane, {difference.in_plane:.1f}° in it) "
        f"and {difference.shift:.2f} px; log-likelihood {found.score - best:+.1f}."
    )


def about_volumes(found: PoseEvidence) -> str:
    """Which of several volumes explain the image; empty if there is one."""
    shares = found.state_shares
    if len(shares) < 2:
        return ""
    order = sorted(range(len(shares)), key=lambda i: -shares[i])[:_TOLD]
    told = ", ".join(
        f"cluster {i + 1}: {100 * shares[i]:.0f} %" for i in order if shares[i] >= _LEAST
    )
    return f"Volumes that explain it: {told}."


def about_level(found: PoseEvidence, level: int) -> str:
    """What happened at a level of the search; the posterior beyond the last."""
    if level >= len(found.levels):
        draws = found.posterior.effective_draws
        return (
            f"Posterior: {len(found.posterior.weights):,} poses drawn around all that the search "
            f"left, worth {draws:,.0f} of equal weight."
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
