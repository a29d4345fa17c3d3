"""The command line, end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from napari_cryodrgn.analysis import Run
from napari_cryodrgn.cli import app
from napari_cryodrgn.particles import (
    read,
    read_indices,
    read_poses,
    read_table,
    read_volume,
    write_ctf,
    write_indices,
    write_poses,
)


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


def test_preprocess_writes_a_set_of_its_own(simulated: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    told = call("preprocess", simulated / "particles.star", out, "--box", 16, "--invert")
    assert "60 particles, box 16" in told
    before, after = read(simulated / "particles.star"), read(out / "particles.star")
    assert (len(after), after.box) == (60, 16)
    assert after.pixel_size == pytest.approx(before.pixel_size * 1.5)
    central = np.s_[:, 6:10, 6:10]
    assert before.images[:, 8:16, 8:16].mean() > 0 > after.images[central].mean()


def test_preprocess_tells_what_is_wrong(simulated: Path, tmp_path: Path) -> None:
    star = simulated / "particles.star"
    assert "even box from 16 to 24" in fails("preprocess", star, tmp_path / "out", "--box", 32)
    assert "nothing.star" in fails("preprocess", tmp_path / "nothing.star", tmp_path / "out")
    assert "one of the files to be read" in fails("preprocess", star, simulated)


def test_info_without_the_stacks(simulated: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.star"
    alone.write_bytes((simulated / "particles.star").read_bytes())
    told = " ".join(call("info", alone).split())
    assert "Particles 60" in told
    assert "Warning:" in told
    assert "[rlnImageName]" in told
    assert "Warning" not in call("info", alone, "--data-folder", simulated)
    assert "no data_ block" in fails("info", _written(tmp_path / "bad.star", "# nothing"))


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_info_of_cryosparc(shared_data: Path) -> None:
    told = call("info", shared_data / "formats" / "cryosparc_P12_J24_001_particles.cs")
    told = " ".join(told.split())
    for words in ("cryoSPARC", "2,019", "180 px", "dark", "1,010", "Warning:", "[blob/path]"):
        assert words in told


def test_export_some_with_other_poses(simulated: Path, trained: Path, tmp_path: Path) -> None:
    write_indices(tmp_path / "ind.pkl", np.array([7, 3]))
    told = call(
        "export", simulated / "particles.star", "-o", tmp_path / "out.star", "--indices",
        tmp_path / "ind.pkl", "--poses", trained / "pose.pkl",
    )  # fmt: skip
    assert "2 particles" in " ".join(told.split())
    again, given = read(tmp_path / "out.star"), read_poses(trained / "pose.pkl", 24)
    np.testing.assert_allclose(again.rotations, given.rotations[[7, 3]], atol=1e-6)
    call("export", trained, "-o", tmp_path / "all.pkl")
    assert len(read_indices(tmp_path / "all.pkl")) == 60
    assert ".star" in fails("export", trained, "-o", tmp_path / "out.cs")
    message = fails("export", trained, "-o", tmp_path / "no.pkl", "--poses", trained / "pose.pkl")
    assert "no room" in message
    assert "at its end" in fails("export", tmp_path, "-o", tmp_path / "no.star")


def test_dark_particles_are_called_so_on_the_way_to_a_star_file(
    simulated: Path, tmp_path: Path
) -> None:
    fields = [
        ("uid", "<u8"), ("blob/path", "S200"), ("blob/idx", "<u4"), ("blob/shape", "<u4", (2,)),
        ("blob/psize_A", "<f4"), ("blob/sign", "<f4"),
    ]  # fmt: skip
    table = np.zeros(3, fields)
    table["uid"], table["blob/path"] = [5, 6, 7], str(simulated / "particles.mrcs").encode()
    table["blob/idx"], table["blob/shape"] = [2, 0, 1], 24
    table["blob/psize_A"] = 3.0
    for sign in (-1, 1):
        table["blob/sign"] = sign
        with (tmp_path / "a.cs").open("wb") as file:
            np.save(file, table)
        told = call("export", tmp_path / "a.cs", "-o", tmp_path / "a.star")
        assert ("dark on light" in told) == (sign < 0)
        assert "Warning" not in call("export", tmp_path / "a.cs", "-o", tmp_path / "b.cs")
    assert read(tmp_path / "a.star").images.image_index.tolist() == [2, 0, 1]


def test_export_to_what_was_before(simulated: Path, tmp_path: Path) -> None:
    call("preprocess", simulated / "particles.star", tmp_path / "small", "--box", 16)
    small = tmp_path / "small/particles.star"
    call("export", small, "--original", "-o", tmp_path / "out.star")
    before, after = read_table(simulated / "particles.star"), read_table(tmp_path / "out.star")
    for name in before.table.columns:
        if name != "rlnImageName":
            assert after.table.column(name) == before.table.column(name), name
    np.testing.assert_array_equal(
        read(tmp_path / "out.star").images[5], read(simulated / "particles.star").images[5]
    )
    assert "what these particles were" in fails(
        "export", simulated / "particles.star", "--original", "-o", tmp_path / "no.star"
    )


def test_a_cryodrgn_project(simulated: Path, tmp_path: Path) -> None:
    known = read(simulated / "particles.star")
    assert known.ctf is not None
    write_ctf(tmp_path / "ctf.pkl", known.ctf, known.box, known.pixel_size)
    write_poses(tmp_path / "poses.pkl", known.rotations, known.shifts, known.box)
    write_indices(tmp_path / "ind.pkl", np.arange(40))
    stack = simulated / "particles.mrcs"
    files = [
        "--ctf", tmp_path / "ctf.pkl", "--poses", tmp_path / "poses.pkl", "--indices",
        tmp_path / "ind.pkl",
    ]  # fmt: skip
    told = " ".join(call("info", stack, *files).split())
    for words in ("Particles 40", "defocus", "Poses given"):
        assert words in told
    call("preprocess", stack, tmp_path / "out", "--box", 16, *files)
    made = read(tmp_path / "out/particles.star")
    assert len(made) == 40
    np.testing.assert_allclose(made.rotations, known.rotations[:40], atol=1e-6)
    np.testing.assert_allclose(made.shifts, known.shifts[:40] * 16 / 24, atol=1e-4)
    np.testing.assert_allclose(made.ctf.defocus_u, known.ctf.defocus_u[:40], atol=0.01)
    files[2] = "--pose-file"
    call("train", stack, "-o", tmp_path / "run", "--epochs", 1, *files)
    assert len(read(tmp_path / "run/particles.star")) == 40
    assert "given beside" in fails("info", tmp_path / "ctf.pkl")


def test_what_a_file_leaves_open_can_be_given(shared_data: Path) -> None:
    formats = shared_data / "formats"
    star = formats / "FinalRefinement-OriginalParticles-PfCRT.star"
    assert "amplitude contrast" in fails("info", star)
    assert "300 kV" in call("info", star, "--amplitude-contrast", 0.1)
    assert "Pixel size unknown" in " ".join(call("info", formats / "hand.mrcs").split())
    assert "1.5 Å" in call("info", formats / "hand.mrcs", "--pixel-size", 1.5)
    assert "Choose a file" in fails("info", formats)


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
