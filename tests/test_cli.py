"""The command line, end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from napari_cryodrgn.analysis import Run
from napari_cryodrgn.cli import app
from napari_cryodrgn.particles import read, read_volume


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def fails(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code != 0
    return " ".join((result.output + result.stderr).split())


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "set"
    call("simulate", out, "--particles", 60, "--box", 24, "--snr", 1, "--max-shift", 1, "--seed", 2)
    return out


@pytest.fixture(scope="module")
def trained(simulated: Path) -> Path:
    run = simulated.parent / "run"
    call("train", simulated / "particles.star", "-o", run, "--poses", "given", "--epochs", 1)
    return run


def test_simulate_writes_the_set_and_the_truth(simulated: Path) -> None:
    particles = read(simulated / "particles.star")
    truth = np.load(simulated / "truth.npz")
    assert len(particles) == 60
    assert particles.box == 24
    assert truth["rots"].shape == (60, 3, 3)
    assert np.abs(truth["trans"]).max() <= 1
    assert particles.rotations is not None
    np.testing.assert_allclose(particles.rotations, truth["rots"], atol=1e-4)


def test_the_seed_decides(tmp_path: Path, simulated: Path) -> None:
    call(
        "simulate", tmp_path, "--particles", 60, "--box", 24, "--snr", 1, "--max-shift", 1,
        "--seed", 2,
    )  # fmt: skip
    again = (tmp_path / "particles.mrcs").read_bytes()[1024:]
    assert again == (simulated / "particles.mrcs").read_bytes()[1024:]


def test_train_leaves_a_run_folder(trained: Path) -> None:
    names = {p.name for p in trained.iterdir()}
    assert names >= {
        "config.yaml", "weights.pkl", "z.pkl", "pose.pkl", "reconstruct.mrc", "particles.star",
        "events.jsonl",
    }  # fmt: skip
    assert not [name for name in names if name.startswith(".")]
    assert yaml.safe_load((trained / "config.yaml").read_text())["model_args"]["zdim"] == 1


def test_decode_by_particle_and_by_latent_agree(trained: Path, tmp_path: Path) -> None:
    run = Run.open(trained)
    assert run.latents is not None
    z = float(run.latents.mu[3, 0])
    call("decode", trained, "--particle", 3, "-o", tmp_path / "a.mrc")
    call("decode", trained, "--z", repr(z), "-o", tmp_path / "b.mrc")
    a, b = read_volume(tmp_path / "a.mrc"), read_volume(tmp_path / "b.mrc")
    assert a.data.shape == (24, 24, 24)
    assert a.pixel_size == pytest.approx(run.pixel_size, rel=1e-4)
    np.testing.assert_allclose(a.data, b.data, atol=1e-5 * np.abs(a.data).max())
    assert a.data.std() > 0


def test_info_tells_what_is_there(simulated: Path, trained: Path) -> None:
    assert "60" in call("info", simulated / "particles.star")
    assert "finished" in call("info", trained)
    assert "24 x 24 x 24" in call("info", trained / "reconstruct.mrc")


def test_errors_are_one_line_that_names_the_file(simulated: Path, tmp_path: Path) -> None:
    assert "nothing.star" in fails("train", tmp_path / "nothing.star", "-o", tmp_path / "run")
    message = fails("train", simulated / "particles.star", "-o", tmp_path / "run", "--box", 33)
    assert "--box" in message
    assert "even" in message
    assert not (tmp_path / "run").exists()
    assert "config.yaml" in fails("decode", tmp_path, "--z", "0", "-o", tmp_path / "v.mrc")
    assert not (tmp_path / "v.mrc").exists()


def test_decode_refuses_bad_latents(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.mrc"
    assert "expected 1" in fails("decode", trained, "--z", "1,2", "-o", out)
    assert "numbers" in fails("decode", trained, "--z", "one", "-o", out)
    assert "0 to 59" in fails("decode", trained, "--particle", 60, "-o", out)
    assert "either" in fails("decode", trained, "-o", out)
    assert not out.exists()


def test_simulate_takes_one_molecule(tmp_path: Path) -> None:
    message = fails("simulate", tmp_path, "--map", "a.mrc", "--trajectory", "b.npz")
    assert "not both" in message
