from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from napari_cryodrgn.training import Settings


def test_only_the_output_is_needed() -> None:
    settings = Settings(output=Path("run"))
    assert settings.poses == "search"
    assert settings.zdim == 1
    assert settings.box is None
    assert settings.beta == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("poses", "guess"),
        ("zdim", -1),
        ("zdim", 33),
        ("box", 8),
        ("box", 33),
        ("epochs", 0),
        ("seed", -1),
        ("device", "tpu"),
        ("max_shift", 0),
        ("starts", 0),
        ("width", 4),
        ("layers", 0),
        ("decoder", "deep"),
        ("encoding", "none"),
        ("batch_size", 0),
        ("learning_rate", 0),
        ("beta", -0.1),
        ("learning_rat", 1e-3),
    ],
)
def test_wrong_values_name_their_field(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"output": "run", field: value})
    (error,) = caught.value.errors()
    assert error["loc"] == (field,)


def test_settings_are_frozen_and_survive_json() -> None:
    settings = Settings(output=Path("run"), zdim=3, box=64, max_shift=2.5)
    with pytest.raises(ValidationError, match="frozen"):
        settings.zdim = 2  # type: ignore[misc]
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings
