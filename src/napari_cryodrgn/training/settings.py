"""Settings of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Encoding = Literal["geometric", "geometric_noisy", "gaussian", "density"]


class Settings(BaseModel):
    """What to infer, from what, and how.

    The defaults are meant to be left alone. Three modes follow from two fields: ``poses="given"``
    (latent and volumes only), ``poses="search"`` with ``zdim=0`` (one structure from nothing), and
    ``poses="search"`` with ``zdim > 0`` (poses and motion from nothing).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    output: Path = Field(description="Run folder; made if absent.")
    poses: Literal["given", "search"] = Field(
        "search", description="Use the file's poses or find them."
    )
    zdim: int = Field(1, ge=0, le=32, description="Dimensions of the latent; 0 for one structure.")
    box: int | None = Field(None, ge=16, description="Fourier-crop to this even box in pixels.")
    epochs: int | None = Field(
        None, ge=1, description="Epochs of the VAE; chosen by mode if absent."
    )
    seed: int = Field(0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    refine_poses: bool = Field(
        False, description="Refine the file's poses locally before anything else."
    )
    invert_contrast: bool = Field(False, description="Particles are dark on light: flip the sign.")
    max_shift: float | None = Field(
        None,
        gt=0,
        description="Largest shift searched, in pixels of the file; 8 % of the box if absent.",
    )
    starts: int = Field(
        8, ge=1, le=32, description="Random starts of the search from nothing, at most."
    )

    width: int = Field(128, ge=8, description="Units in each hidden layer of encoder and decoder.")
    layers: int = Field(3, ge=1, description="Hidden layers of encoder and decoder.")
    decoder: Literal["basis", "residual", "plain"] = Field(
        "basis",
        description="Voxels, a network on top of a consensus volume, or the paper's plain network.",
    )
    encoding: Encoding = Field("density", description="Positional encoding of the decoder.")
    linear_start: bool = Field(
        True, description="Start the latent from a linear fit; off is the paper's VAE from nothing."
    )
    refine_latent: bool = Field(
        True, description="Replace the encoder's posterior of each particle by a refined one."
    )
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    beta: float = Field(1.0, ge=0, description="Weight of the KL term; 1 is the ELBO.")

    @field_validator("box")
    @classmethod
    def _even(cls, box: int | None) -> int | None:
        if box is not None and box % 2:
            raise ValueError(f"box must be even, got {box}")
        return box
