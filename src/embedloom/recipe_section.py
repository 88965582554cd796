"""What every part of a recipe has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a recipe: unknown keys are refused, values can't change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
