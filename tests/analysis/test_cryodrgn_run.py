"""Run folders of cryoDRGN, made here in the layouts of its commands, whole and broken."""

from __future__ import annotations

import argparse
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from typer.testing import CliRunner

from napari_cryodrgn.analysis import Run, contour_level
from napari_cryodrgn.cli import app
from napari_cryodrgn.errors import RunFolderError
from napari_cryodrgn.imaging import CTFParameters
from napari_cryodrgn.particles import (
    read_volume,
    write_ctf,
    write_indices,
    write_latents,
    write_poses,
    write_volume,
)

BOX, N = 8, 12
random = np.random.default_rng(5)
MU = random.normal(size=(N, 2)).astype(np.float32)
LOGVAR = random.normal(size=(N, 2)).astype(np.float32)
ROTATIONS = np.linalg.qr(random.normal(size=(N, 3, 3)))[0].astype(np.float32)
SHIFTS = random.uniform(-2, 2, (N, 2)).astype(np.float32)


def layers(name: str, sizes: list[int]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(len(name))
    state = {}
    for i, (n, m) in enumerate(zip(sizes, sizes[1:], strict=False)):
        layer = f"{name}main.{2 * i}." + ("linear." if n == m else "")
        state[f"{layer}weight"] = torch.randn(m, n, generator=generator) / n**0.5
        state[f"{layer}bias"] = torch.randn(m, generator=generator)
    return state


def config(**data: Any) -> dict[str, Any]:
    return {
        "cmd": ["cryodrgn", "train_vae"],
        "dataset_args": {"particles": "gone/particles.mrcs", "norm": [0.0, 4.0], **data},
        "lattice_args": {"D": BOX + 1, "extent": 0.5, "ignore_DC": True},
        "model_args": {
            "zdim": 2,
            "players": 1,
            "pe_type": "geom_lowf",
            "pe_dim": 2,
            "domain": "fourier",
        },
        "version": "4.3.1",
    }


def write_config(folder: Path, content: dict[str, Any]) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump(content))


def write_epoch(folder: Path, epoch: int | None, offset: float = 0.0) -> None:
    number = "" if epoch is None else f".{epoch}"
    state = {
        "encoder.main.0.weight": torch.zeros(4, 9),
        **layers("decoder.decoder.", [14, 6, 6, 2]),
    }
    state["decoder.decoder.main.0.bias"] += offset
    content = {"epoch": epoch, "model_state_dict": state, "optimizer_state_dict": {}}
    torch.save(content, folder / f"weights{number}.pkl")
    write_latents(folder / f"z{number}.pkl", MU + offset, LOGVAR)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As train_vae leaves it, with analyze.2; the particles are gone, poses and CTF are not."""
    out = tmp_path / "out"
    (out / "analyze.2" / "kmeans3").mkdir(parents=True)
    write_config(out, config(poses="inputs/pose.pkl", ctf="inputs/ctf.pkl", ind=None))
    for epoch, offset in {1: 1.0, 2: 0.0, None: 0.0}.items():
        write_epoch(out, epoch, offset)
    (tmp_path / "inputs").mkdir()
    write_poses(tmp_path / "inputs" / "pose.pkl", ROTATIONS, SHIFTS, BOX)
    numbers = np.full((7, N), 0.1)
    write_ctf(tmp_path / "inputs" / "ctf.pkl", CTFParameters(*numbers), 4 * BOX, 1.5)
    products = out / "analyze.2"
    (products / "umap.pkl").write_bytes(pickle.dumps(MU + 3))
    (products / "kmeans3" / "labels.pkl").write_bytes(pickle.dumps(np.arange(N) % 3))
    np.savetxt(products / "kmeans3" / "centers.txt", MU[:3])
    np.savetxt(products / "kmeans3" / "centers_ind.txt", [0, 1, 2], fmt="%d")
    (products / "pc1").mkdir()
    np.savetxt(products / "pc1" / "z_values.txt", MU[:5])
    return out


def test_a_finished_run_of_train_vae(folder: Path) -> None:
    run = Run.open(folder)
    assert (run.finished, run.epoch, run.zdim, run.box, run.n_particles) == (True, 2, 2, BOX, N)
    assert run.pixel_size == pytest.approx(6.0)
    assert run.particles_path == Path("gone/particles.mrcs")
    assert run.settings["poses"] == "given"
    assert run.latents is not None
    np.testing.assert_array_equal(run.latents.mu, MU)
    np.testing.assert_array_equal(run.latents.logvar, LOGVAR)
    assert run.rotations is not None
    assert run.shifts is not None
    np.testing.assert_array_equal(run.rotations, ROTATIONS)
    np.testing.assert_allclose(run.shifts, SHIFTS, atol=1e-6)
    assert run.can_decode
    assert run.decode(MU[0]).shape == (BOX, BOX, BOX)
    assert not run.changed()
    (folder / "z.3.pkl").write_bytes(b"")
    assert run.changed()


def test_the_contour_is_that_of_the_particle_in_the_middle(folder: Path) -> None:
    run = Run.open(folder)
    middle = MU[np.linalg.norm(MU - MU.mean(0), axis=1).argmin()]
    volume = run.consensus()
    np.testing.assert_array_equal(volume.data, run.decode(middle))
    assert volume.pixel_size == run.pixel_size
    assert run.contour() == contour_level(run.decode(middle))


def test_of_a_large_box_the_contour_is_that_of_a_filtered_volume(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_cryodrgn.analysis.run._CONTOUR_BOX", BOX // 2)
    middle = MU[np.linalg.norm(MU - MU.mean(0), axis=1).argmin()]
    run = Run.open(folder)
    assert run.contour() == contour_level(run.decode(middle, BOX // 2))


def test_products_of_analyze(folder: Path) -> None:
    products = Run.open(folder).products()
    assert products is not None
    assert products.folder == folder / "analyze.2"
    np.testing.assert_array_equal(products.umap, MU + 3)
    np.testing.assert_array_equal(products.labels, np.arange(N) % 3)
    np.testing.assert_allclose(products.centres, MU[:3], rtol=1e-6)
    np.testing.assert_array_equal(products.centre_particles, [0, 1, 2])
    np.testing.assert_allclose(products.walks[1], MU[:5], rtol=1e-6)
    (folder / "analyze.2" / "umap.pkl").write_bytes(pickle.dumps(MU[:5]))
    with pytest.raises(RunFolderError, match=r"umap\.pkl of analyze\.2 is not of 12 particles"):
        Run.open(folder).products()
    write_epoch(folder, None, offset=0.2)  # an epoch later
    assert Run.open(folder).products() is None
    (folder / "analyze.2").rename(folder / "analyze")
    (folder / "analyze" / "umap.pkl").write_bytes(pickle.dumps(MU + 3))
    final = Run.open(folder).products()
    assert final is not None
    assert final.folder == folder / "analyze"
    shutil.rmtree(folder / "analyze")
    assert Run.open(folder).products() is None


def test_a_run_in_progress_shows_its_last_whole_epoch(folder: Path) -> None:
    final = Run.open(folder).decode([0, 0])
    for name in ("weights.pkl", "z.pkl"):
        (folder / name).unlink()
    write_epoch(folder, 10, offset=10.0)
    shutil.copy(folder / "weights.10.pkl", folder / "weights.11.pkl")  # its latents follow
    run = Run.open(folder)
    assert (run.finished, run.epoch) == (False, 10)
    assert run.latents is not None
    np.testing.assert_array_equal(run.latents.mu, MU + 10)
    assert np.abs(run.decode([0, 0]) - final).max() > 1e-3
    assert run.products() is None  # those of epoch 2 are of other latents


def test_a_selection_of_the_particles(folder: Path) -> None:
    chosen = np.arange(3, N)[::-1].copy()
    write_indices(folder.parent / "inputs" / "ind.pkl", chosen)
    content = config(poses="inputs/pose.pkl", ind="inputs/ind.pkl")
    write_config(folder, content)
    write_latents(folder / "z.pkl", MU[chosen], LOGVAR[chosen])
    run = Run.open(folder)
    np.testing.assert_array_equal(run.indices, chosen)
    np.testing.assert_array_equal(run.rotations, ROTATIONS[chosen])
    assert run.pixel_size is None  # no ctf, no volume
    (folder.parent / "inputs" / "ind.pkl").unlink()
    run = Run.open(folder)
    # Which particles of the file they are, nobody knows any more.
    assert (run.indices, run.particles_path, run.rotations) == (None, None, None)
    assert run.n_particles == len(chosen)


def test_tilts_are_not_taken_for_particles(folder: Path) -> None:
    write_config(folder, config(ntilts=10))
    run = Run.open(folder)
    assert (run.n_particles, run.particles_path, run.rotations) == (N, None, None)


def test_the_pixel_size_of_a_volume(folder: Path) -> None:
    write_config(folder, config(ctf="nowhere.pkl"))
    assert Run.open(folder).pixel_size is None
    volumes = folder / "analyze.2" / "kmeans3"
    write_volume(volumes / "vol_001.mrc", np.zeros((4, 4, 4)), 12.0)
    assert Run.open(folder).pixel_size == pytest.approx(6.0)


def test_abinit(tmp_path: Path) -> None:
    content = config()
    del content["dataset_args"]["norm"]
    content |= {"data_norm_mean": 0.1, "data_norm_std": 3.0, "training": {"num_epochs": 4}}
    content["model_args"] = {"zdim": 2, "pe_type": "gaussian", "pe_dim": 4, "domain": "hartley"}
    write_config(tmp_path, content)
    state = {"rand_freqs": torch.ones(12, 3), **layers("mlp.", [26, 6, 6, 1])}
    params = {"resolution": BOX + 1, "z_dim": 2, "pe_type": "gaussian", "domain": "hartley"}
    checkpoint = {"hypervolume_params": params, "hypervolume_state_dict": state}
    for epoch in (3, 4):
        torch.save({**checkpoint, "output_mask_radius": 4}, tmp_path / f"weights.{epoch}.pkl")
        (tmp_path / f"z.{epoch}.pkl").write_bytes(pickle.dumps(MU))
        poses = (ROTATIONS, -SHIFTS / 10)  # pixels, all of them below 1
        (tmp_path / f"pose.{epoch}.pkl").write_bytes(pickle.dumps(poses))
    run = Run.open(tmp_path)
    assert (run.finished, run.epoch, run.settings["poses"]) == (True, 4, "search")
    np.testing.assert_allclose(run.shifts, SHIFTS / 10, rtol=1e-6)
    assert run.decode(MU[0]).std() > 0
    assert run.latents is not None
    assert not run.latents.logvar.any()
    params["z_dim"] = 3
    torch.save(checkpoint, tmp_path / "weights.4.pkl")
    with pytest.raises(RunFolderError, match=r"weights\.4\.pkl does not fit"):
        Run.open(tmp_path).decode(MU[0])


def test_train_dec_and_train_nn(tmp_path: Path) -> None:
    content = config()
    del content["model_args"]["players"]
    write_config(tmp_path, content)
    (tmp_path / "z.pkl").write_bytes(pickle.dumps(MU))
    state = layers("decoder.", [14, 6, 6, 2])
    torch.save({"norm": np.float64(4), "model_state_dict": state}, tmp_path / "weights.pkl")
    assert Run.open(tmp_path).decode(MU[0]).std() > 0
    (tmp_path / "z.pkl").unlink()
    del content["model_args"]["zdim"]
    write_config(tmp_path, content)
    state["decoder.main.0.weight"] = state["decoder.main.0.weight"][:, :12]
    torch.save({"model_state_dict": state}, tmp_path / "weights.pkl")
    run = Run.open(tmp_path)
    assert (run.zdim, run.latents, run.n_particles) == (0, None, 0)
    assert run.contour() == contour_level(run.decode([]))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_an_old_config_in_a_pickle(folder: Path, protocol: int) -> None:
    expected = Run.open(folder).decode([0, 0])
    content = config(poses="inputs/pose.pkl", ctf="inputs/ctf.pkl" + "x" * 300, window=True)
    # Pickles older than protocol 3 hold NumPy's bytes as a call, which is not made.
    content["dataset_args"]["norm"] = (
        [0, 4.0] if protocol == 2 else (np.float32(0), np.array([4.0])[0])
    )
    more = {"time": "afterwards", "cmd": argparse.Namespace()}  # never read
    raw = pickle.dumps(content, protocol) + pickle.dumps(more, protocol)
    (folder / "config.yaml").unlink()
    (folder / "config.pkl").write_bytes(raw)
    np.testing.assert_array_equal(Run.open(folder).decode([0, 0]), expected)


def test_a_config_with_objects_of_python(folder: Path) -> None:
    expected = Run.open(folder).decode([0, 0])
    content = config()
    content["dataset_args"]["norm"] = (np.float64(0), np.float32(4))
    content["args"] = argparse.Namespace(lr=1e-4)
    content["outdir"] = Path("x")
    (folder / "config.yaml").write_text(yaml.dump(content))
    np.testing.assert_array_equal(Run.open(folder).decode([0, 0]), expected)


class _Code:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("ran"),))


def test_code_never_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    torch.save({"model_state_dict": {}, "norm": _Code()}, folder / "weights.pkl")
    with pytest.raises(RunFolderError, match=r"weights\.pkl is more than weights.*Refused"):
        Run.open(folder).decode([0, 0])
    (folder / "config.yaml").write_text(yaml.dump(config(norm=[0.0, 4.0], x=_Code())))
    assert Run.open(folder).zdim == 2
    (folder / "config.yaml").unlink()
    (folder / "config.pkl").write_bytes(pickle.dumps(_Code()))
    with pytest.raises(RunFolderError, match=r"config\.pkl.*refused"):
        Run.open(folder)
    assert not (folder / "ran").exists()


def test_weights_that_are_missing_or_half_written(folder: Path) -> None:
    raw = (folder / "weights.pkl").read_bytes()
    for part in (raw[:-300], raw[: len(raw) // 2], b""):
        (folder / "weights.pkl").write_bytes(part)
        with pytest.raises(RunFolderError, match=r"weights\.pkl is half-written or damaged"):
            Run.open(folder).decode([0, 0])
    for path in folder.glob("weights*"):
        path.unlink()
    run = Run.open(folder)
    assert run.latents is not None
    assert not run.can_decode
    with pytest.raises(RunFolderError, match="not there yet"):
        run.decode([0, 0])
    with pytest.raises(RunFolderError, match="not there yet"):
        run.contour()


def changed(folder: Path, table: str, **values: Any) -> None:
    content = yaml.safe_load((folder / "config.yaml").read_text())
    content[table] |= values
    write_config(folder, content)


def test_what_does_not_fit_is_named(folder: Path) -> None:
    changed(folder, "model_args", pe_type="magic")
    with pytest.raises(RunFolderError, match="pe_type: expected geom_ft.*got magic"):
        Run.open(folder).decode([0, 0])
    changed(folder, "model_args", pe_type="geom_lowf", zdim=3)
    with pytest.raises(RunFolderError, match=r"z\.pkl holds \(12, 2\), expected \(particles, 3\)"):
        Run.open(folder)
    write_latents(folder / "z.pkl", np.zeros((N, 3)), np.zeros((N, 3)))
    with pytest.raises(RunFolderError, match="12 of the positional encoding and 3 of the latent"):
        Run.open(folder).decode([0, 0, 0])


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("lattice_args", {"D": 8}),
        ("lattice_args", {"D": None}),
        ("lattice_args", {"extent": 0.3}),
        ("dataset_args", {"norm": [1]}),
        ("model_args", {"zdim": "many"}),
    ],
)
def test_configurations_that_cannot_be_used(
    folder: Path, table: str, values: dict[str, Any]
) -> None:
    changed(folder, table, **values)
    with pytest.raises(RunFolderError, match="cryoDRGN that can be opened"):
        Run.open(folder)


def test_a_configuration_without_data(folder: Path) -> None:
    write_config(folder, {**config(), "dataset_args": [1, 2]})
    with pytest.raises(RunFolderError, match="'data_norm_mean' is missing"):
        Run.open(folder)


@pytest.mark.parametrize("name", ["configs.yaml", "drgnai-configs.yaml", "out/drgnai-configs.yaml"])
def test_folders_of_drgnai_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("training: {}")
    with pytest.raises(RunFolderError, match="DRGN-AI"):
        Run.open(tmp_path)


def test_the_sample_run(shared_data: Path) -> None:
    run = Run.open(shared_data / "cryodrgn-run")
    assert (run.finished, run.epoch, run.n_particles, run.box) == (True, 3, 400, 32)
    assert run.pixel_size == pytest.approx(11)
    references = run.folder / "reference_volumes"
    for i, z in enumerate(np.loadtxt(references / "z_values.txt"), 1):
        expected = read_volume(references / f"vol_{i:03d}.mrc").data
        assert np.linalg.norm(run.decode(z) - expected) < 1e-3 * np.linalg.norm(expected)
    products = run.products()
    assert products is not None
    assert products.labels is not None
    assert products.centres is not None
    assert products.centre_particles is not None
    assert run.latents is not None
    np.testing.assert_allclose(
        run.latents.mu[products.centre_particles], products.centres, atol=1e-4
    )


def test_weights_and_latents_of_an_older_version(shared_data: Path, tmp_path: Path) -> None:
    names = {"het_config": "config.yaml", "het_weights": "weights.pkl", "zvals_het": "z.pkl"}
    for path in (shared_data / "formats").iterdir():
        for start, name in names.items():
            if path.name.startswith(start):
                shutil.copy(path, tmp_path / name)
    run = Run.open(tmp_path)
    assert (run.box, run.zdim) == (64, 8)
    assert run.latents is not None
    assert run.decode(run.latents.mu[0]).std() > 0


def test_the_command_line_takes_a_run_without_pixel_size(folder: Path) -> None:
    (folder.parent / "inputs" / "ctf.pkl").unlink()
    out = folder.parent / "volume.mrc"
    for arguments in (["info", str(folder)], ["decode", str(folder), "--z", "0,0", "-o", str(out)]):
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert "unknown pixel size" in result.output
    assert read_volume(out).pixel_size is None
