"""Settings of a run that most users leave alone."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QCheckBox, QWidget

from ..training.settings import Settings
from .form_parts import add_row, new_form, number_box, setting_box, spin_box


class AdvancedFields(QWidget):
    """The part of the Train dock's form that is folded away."""

    def __init__(self) -> None:
        super().__init__()
        defaults = {name: field.default for name, field in Settings.model_fields.items()}
        form = new_form()
        self.setLayout(form)
        self._given = False
        self.invert = QCheckBox("particles are dark on light")
        add_row(form, "Contrast", self.invert, tip="Flip the sign of the images.")
        self.refine_poses = QCheckBox("refine before training")
        self.refine_poses.toggled.connect(lambda _: self.set_given(self._given))
        add_row(
            form,
            "Given poses",
            self.refine_poses,
            tip="With poses from the file: first refine each rotation and shift, around what the "
            "file says, against the map they give.",
        )
        self.max_shift = number_box(0, 1000, 0, 1)
        self.max_shift.setSpecialValueText("auto")
        self.max_shift.setSuffix(" px")
        add_row(
            form,
            "Max shift",
            self.max_shift,
            tip="Largest shift searched, in pixels of the file; auto is 8 % of the box.",
        )
        self.starts = setting_box("starts")
        add_row(
            form,
            "Starts",
            self.starts,
            tip="Random starts of the pose search; the best is kept.",
        )
        self.batch_size = spin_box(1, 4096, defaults["batch_size"])
        add_row(form, "Batch size", self.batch_size, tip="Images per step.")
        self.learning_rate = number_box(0, 1, defaults["learning_rate"], 5)
        self.learning_rate.setSingleStep(1e-4)
        add_row(form, "Learning rate", self.learning_rate)
        self.beta = number_box(0, 1000, defaults["beta"], 3)
        add_row(form, "KL weight", self.beta, tip="Weight of the KL divergence; 1 is the ELBO.")
        self.seed = spin_box(0, 2**31 - 1, defaults["seed"])
        add_row(form, "Seed", self.seed, tip="The same seed and device give the same run.")

    @property
    def values(self) -> dict[str, Any]:
        """What was filled in, by the names of `Settings`."""
        return {
            "seed": self.seed.value(),
            "invert_contrast": self.invert.isChecked(),
            "refine_poses": self.refine_poses.isChecked(),
            "max_shift": self.max_shift.value() or None,
            "starts": self.starts.value(),
            "batch_size": self.batch_size.value(),
            "learning_rate": self.learning_rate.value(),
            "beta": self.beta.value(),
        }

    def set_given(self, given: bool) -> None:
        """Leave only what counts for poses that are given, or searched."""
        self._given = given
        self.refine_poses.setEnabled(given)
        self.starts.setEnabled(not given)
        self.max_shift.setEnabled(not given or self.refine_poses.isChecked())
