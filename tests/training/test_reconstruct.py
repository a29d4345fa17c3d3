from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from napari_cryodrgn.errors import RunFolderError, TrainingError
from napari_cryodrgn.model import build_decoder
from napari_cryodrgn.particles import read, read_latents, read_poses, read_volume
from napari_cryodrgn.training import (
    CheckpointSaved,
    EpochDone,
    LatentUpdated,
    PosesUpdated,
    PreviewVolume,
    RunFinished,
    RunStarted,
    Settings,
    StageStarted,
    StepDone,
    model_stages,
    pose_stages,
    reconstruct,
)
from napari_cryodrgn.training.abinitio import SoftEMSettings

FILES = {
    "config.yaml",
    "weights.pkl",
    "z.pkl",
    "pose.pkl",
    "loss.npy",
    "reconstruct.mrc",
    "particles.star",
    "events.jsonl",
}


@pytest.fixture(scope="module", autouse=True)
def _short_decoder() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_stages, "_DECODER_STEPS", 200)
        yield


def check_order(events: list[Any]) -> None:
    """What every complete stream of events obeys."""
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[1], StageStarted)
    assert isinstance(events[-1], RunFinished)
    assert sum(isinstance(e, RunStarted | RunFinished) for e in events) == 2
    started = [e for e in events if isinstance(e, StageStarted)]
    assert all(events[0].stages[e.index] == e.title for e in started)
    assert [e.index for e in started] == sorted({e.index for e in started})
    current = ""
    fractions = []
    for event in events:
        if isinstance(event, StageStarted):
            current = event.title
        elif isinstance(event, StepDone | EpochDone):
            assert event.stage == current
        if isinstance(event, StepDone):
            fractions.append(event.fraction)
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0]
    assert 0.9 < fractions[-1] <= 1
    epochs = [e.epoch for e in events if isinstance(e, EpochDone)]
    assert epochs == list(range(epochs[0], epochs[0] + len(epochs))) if epochs else True


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


@pytest.fixture(scope="module")
def finished(particles: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """The folder of a complete run, not to be changed, and its events."""
    settings = Settings(
        output=tmp_path_factory.mktemp("whole") / "deep" / "run",
        poses="given", epochs=1, width=16, layers=1, device="cpu",
    )  # fmt: skip
    return settings.output, list(reconstruct(settings, particles))


def test_events_come_in_order(finished: Any, particles: Any) -> None:
    folder, events = finished
    check_order(events)
    first = events[0]
    assert (first.folder, first.n_particles, first.box) == (folder, 120, 24)
    assert (first.zdim, first.device, first.resumed) == (1, "cpu", False)
    assert first.pixel_size == pytest.approx(12.0)
    kinds = {type(e) for e in events}
    assert {PosesUpdated, LatentUpdated, PreviewVolume, CheckpointSaved, EpochDone} <= kinds
    poses = next(e for e in events if isinstance(e, PosesUpdated))
    np.testing.assert_allclose(poses.rotations, particles.rotations, atol=1e-5)
    np.testing.assert_allclose(poses.shifts, particles.shifts, atol=1e-4)
    for event in events:
        if isinstance(event, LatentUpdated):
            assert event.mu.shape == event.logvar.shape == (120, 1)
            assert event.mu.dtype == np.float32
        elif isinstance(event, PreviewVolume):
            assert event.volume.dtype == np.float32
            assert np.isfinite(event.volume).all()
            assert event.volume.shape[0] * event.pixel_size == pytest.approx(24 * 12.0)
        elif isinstance(event, EpochDone):
            assert np.isfinite([event.total, event.reconstruction, event.kl]).all()


def test_folder_holds_the_run(finished: Any, particles: Any) -> None:
    folder, events = finished
    assert names(folder) >= FILES
    assert not [n for n in names(folder) if n.startswith(".")]
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["model_args"]["zdim"] == 1
    assert config["dataset_args"]["particles"] == str(particles.source)
    mu, logvar = read_latents(folder / "z.pkl")
    assert logvar is not None
    assert mu.shape == logvar.shape == (120, 1)
    np.testing.assert_array_equal(mu, [e for e in events if isinstance(e, LatentUpdated)][-1].mu)
    loss = np.load(folder / "loss.npy")
    assert loss.shape == (120,)
    # Nearly every image is more likely to show the molecule than nothing.
    assert np.mean(loss < 0) > 0.9
    poses = read_poses(folder / "pose.pkl", 24)
    np.testing.assert_allclose(poses.rotations, particles.rotations, atol=1e-5)
    np.testing.assert_allclose(poses.shifts, particles.shifts, atol=1e-3)
    volume = read_volume(folder / "reconstruct.mrc")
    assert volume.data.shape == (24, 24, 24)
    assert volume.pixel_size == pytest.approx(12.0)
    truth = np.load(particles.source.parent / "truth.npz")["vols"].mean(0)
    assert np.corrcoef(volume.data.ravel(), truth.ravel())[0, 1] > 0.7
    star = read(folder / "particles.star")
    assert len(star) == 120
    np.testing.assert_allclose(star.rotations, particles.rotations, atol=1e-4)
    np.testing.assert_allclose(star.shifts, particles.shifts, atol=1e-3)
    rows = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert rows[0]["event"] == "RunStarted"
    assert rows[-1]["event"] == "RunFinished"
    assert rows[0]["n_particles"] == 120


def test_saved_decoder_decodes(finished: Any) -> None:
    folder, _ = finished
    weights = torch.load(folder / "weights.pkl", map_location="cpu", weights_only=True)
    decoder = build_decoder(weights["model_state_dict"])
    low, high = decoder.decode(torch.tensor([-1.0])), decoder.decode(torch.tensor([1.0]))
    assert low.shape == (24, 24, 24)
    assert float((low - high).norm()) > 1e-3 * float(low.norm())
    consensus = read_volume(folder / "reconstruct.mrc").data
    middle = decoder.decode(torch.zeros(1))
    assert np.corrcoef(middle.flatten(), consensus.ravel())[0, 1] > 0.7


def stop_after(run: Iterator[Any], n_checkpoints: int) -> list[Any]:
    """Events until a few checkpoints are saved and a little beyond; then the run is closed."""
    seen: list[Any] = []
    for event in run:
        seen.append(event)
        if sum(isinstance(e, CheckpointSaved) for e in seen) == n_checkpoints and isinstance(
            event, StepDone
        ):
            break
    run.close()  # type: ignore[attr-defined]
    return seen


@pytest.mark.parametrize("n_checkpoints", [1, 4])
def test_stop_and_resume(finished: Any, particles: Any, settings: Any, n_checkpoints: int) -> None:
    chosen = settings()
    before = stop_after(reconstruct(chosen, particles), n_checkpoints)
    assert not isinstance(before[-1], RunFinished)
    assert not [n for n in names(chosen.output) if n.startswith(".")]
    after = list(reconstruct(chosen, particles, resume=True))
    check_order(after)
    assert after[0].resumed
    # What was done is not done again.
    done = sum(isinstance(e, CheckpointSaved) for e in before + after)
    assert done == sum(isinstance(e, CheckpointSaved) for e in finished[1])
    epochs = [e.epoch for e in before + after if isinstance(e, EpochDone)]
    assert epochs == [e.epoch for e in finished[1] if isinstance(e, EpochDone)]
    assert names(chosen.output) == names(finished[0])
    mu, _ = read_latents(chosen.output / "z.pkl")
    expected, _ = read_latents(finished[0] / "z.pkl")
    assert abs(np.corrcoef(mu[:, 0], expected[:, 0])[0, 1]) > 0.95


def test_finished_run_resumes_to_its_end(particles: Any, settings: Any) -> None:
    chosen = settings(zdim=0)
    first = list(reconstruct(chosen, particles))
    check_order(first)
    assert names(chosen.output) >= FILES - {"z.pkl", "loss.npy"}
    assert "z.pkl" not in names(chosen.output)
    again = list(reconstruct(chosen, particles, resume=True))
    assert isinstance(again[-1], RunFinished)
    assert not [e for e in again if isinstance(e, CheckpointSaved)]


def test_a_new_run_replaces_the_old(particles: Any, settings: Any) -> None:
    chosen = settings(zdim=0)
    list(reconstruct(chosen, particles))
    (chosen.output / "notes.txt").write_text("mine")
    (chosen.output / "picked.pkl").write_bytes(b"mine too")
    again = reconstruct(chosen, particles)
    next(again)
    # Not before all images were read.
    assert "weights.pkl" in names(chosen.output)
    while "weights.pkl" in names(chosen.output):
        next(again)
    again.close()
    left = names(chosen.output)
    assert "reconstruct.mrc" not in left
    assert "weights.pkl" not in left
    assert {"notes.txt", "picked.pkl"} <= left
    assert (chosen.output / "events.jsonl").read_text().count("RunStarted") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"box": 16},
        {"decoder": "plain", "linear_start": False, "encoding": "geometric"},
        {"decoder": "plain", "encoding": "gaussian", "invert_contrast": True},
        {"zdim": 2, "encoding": "geometric_noisy"},
    ],
)
def test_other_settings(particles: Any, settings: Any, changes: dict[str, Any]) -> None:
    chosen = settings(**changes)
    events = list(reconstruct(chosen, particles))
    check_order(events)
    assert names(chosen.output) >= FILES
    box = changes.get("box", 24)
    assert events[0].box == box
    assert events[0].pixel_size == pytest.approx(12.0 * 24 / box)
    volume = read_volume(chosen.output / "reconstruct.mrc")
    assert volume.data.shape == (box,) * 3
    # Shifts leave in pixels of the file, whatever the box of the run.
    star = read(chosen.output / "particles.star")
    np.testing.assert_allclose(star.shifts, particles.shifts, atol=1e-3)


def test_search_from_nothing(
    particles: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way with a soft EM too short to find anything: each stage runs and hands on."""
    quick = SoftEMSettings(steps=3, batch=20, n_side=1)
    monkeypatch.setattr(pose_stages, "SoftEMSettings", lambda: quick)
    chosen = settings(poses="search", starts=2, box=16, max_shift=2.0)
    few = replace(particles, rotations=None, shifts=None).select(slice(0, 60))
    events = list(reconstruct(chosen, few))
    check_order(events)
    assert names(chosen.output) >= FILES
    poses = [e for e in events if isinstance(e, PosesUpdated)]
    assert len(poses) >= 3
    assert poses[-1].rotations.shape == (60, 3, 3)
    identity = poses[-1].rotations @ poses[-1].rotations.swapaxes(1, 2)
    np.testing.assert_allclose(identity, np.eye(3) + np.zeros((60, 3, 3)), atol=1e-4)
    # Refinement goes at most one step of the grid beyond the range.
    assert np.abs(poses[-1].shifts).max() < 2.0 * 16 / 24 + 1
    assert poses[-1].scores.shape == (60,)
    star = read(chosen.output / "particles.star")
    np.testing.assert_allclose(star.rotations, poses[-1].rotations, atol=1e-4)
    np.testing.assert_allclose(star.shifts, poses[-1].shifts * 24 / 16, atol=1e-3)


def refused(
    error: type[Exception], words: str, settings: Any, particles: Any, resume: bool = False
) -> None:
    with pytest.raises(error, match=words):
        next(reconstruct(settings, particles, resume))


def test_particles_that_do_not_fit(particles: Any, settings: Any) -> None:
    bare = replace(particles, rotations=None, shifts=None)
    refused(TrainingError, "no poses", settings(), bare)
    refused(TrainingError, "pixel size", settings(), replace(particles, pixel_size=None))
    refused(TrainingError, "26 px is larger", settings(box=26), particles)
    refused(TrainingError, "19 particles are too few", settings(), particles.select(range(19)))
    if not torch.cuda.is_available():
        refused(TrainingError, "no CUDA GPU", settings(device="cuda"), particles)
    assert not settings().output.exists()


def test_a_folder_with_other_files_is_left_alone(particles: Any, settings: Any) -> None:
    chosen = settings()
    chosen.output.mkdir()
    (chosen.output / "thesis.tex").write_text("years of work")
    refused(RunFolderError, "other files", chosen, particles)
    assert names(chosen.output) == {"thesis.tex"}
    assert (chosen.output / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("text", ["program: other\n", "cmd: [cryodrgn, train_vae]\n", "[", ""])
def test_the_run_of_another_program_is_left_alone(particles: Any, settings: Any, text: str) -> None:
    chosen = settings()
    chosen.output.mkdir()
    (chosen.output / "config.yaml").write_text(text)
    for name in ("weights.pkl", "z.pkl", "poses.pkl"):
        (chosen.output / name).write_bytes(b"days of training")
    refused(RunFolderError, "other", chosen, particles)
    assert (chosen.output / "config.yaml").read_text() == text
    assert (chosen.output / "weights.pkl").read_bytes() == b"days of training"
    assert len(names(chosen.output)) == 4


def test_particles_in_the_output_folder_are_not_replaced(
    finished: Any, particles: Any, settings: Any
) -> None:
    folder = settings().output
    shutil.copytree(finished[0], folder)
    inside = replace(particles, source=folder / "particles.star")
    before = (folder / "particles.star").read_bytes()
    with pytest.raises(RunFolderError, match="in the output folder"):
        list(reconstruct(settings(), inside))
    assert (folder / "particles.star").read_bytes() == before


def test_a_file_in_the_way(particles: Any, settings: Any) -> None:
    chosen = settings()
    chosen.output.write_text("a file")
    refused(RunFolderError, "cannot be made", chosen, particles)
    assert chosen.output.read_text() == "a file"


def test_resume_without_a_checkpoint(particles: Any, settings: Any) -> None:
    chosen = settings()
    refused(RunFolderError, "no checkpoint", chosen, particles, resume=True)
    assert not chosen.output.exists()


def test_resume_from_a_damaged_checkpoint(particles: Any, settings: Any) -> None:
    chosen = settings(zdim=0)
    stop_after(reconstruct(chosen, particles), 1)
    whole = (chosen.output / "checkpoint.pkl").read_bytes()
    (chosen.output / "checkpoint.pkl").write_bytes(whole[: len(whole) // 2])
    refused(RunFolderError, "damaged", chosen, particles, resume=True)


def test_resume_with_other_particles_or_settings(particles: Any, settings: Any) -> None:
    chosen = settings(zdim=0)
    stop_after(reconstruct(chosen, particles), 1)
    refused(TrainingError, "has 120 particles", chosen, particles.select(range(100)), resume=True)
    for changes in ({"box": 16}, {"zdim": 1}, {"decoder": "plain"}):
        other = settings(**{"zdim": 0, **changes})
        refused(TrainingError, next(iter(changes)), other, particles, resume=True)
    # What does not change the plan may change.
    *_, last = reconstruct(chosen.model_copy(update={"max_shift": 3.0}), particles, resume=True)
    assert isinstance(last, RunFinished)


@pytest.mark.parametrize("fault", [OSError(28, "No space left"), RuntimeError("write failed")])
def test_a_full_disk_keeps_the_last_checkpoint(
    particles: Any, settings: Any, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    chosen = settings(zdim=0)
    stop_after(reconstruct(chosen, particles), 1)
    before = (chosen.output / "checkpoint.pkl").read_bytes()

    def fail(_content: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fail)
        with pytest.raises(RunFolderError, match="checkpoint.pkl cannot be written"):
            list(reconstruct(chosen, particles, resume=True))
    assert (chosen.output / "checkpoint.pkl").read_bytes() == before
    assert not [n for n in names(chosen.output) if n.startswith(".")]
    *_, last = reconstruct(chosen, particles, resume=True)
    assert isinstance(last, RunFinished)
