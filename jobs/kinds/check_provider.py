"""Kind ``check_provider``: can this provider be used? A job, since only workers read keys and reach providers."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from jobs.kind import Kind


class Nothing(BaseModel):
    """No input: the job names the provider, and may name a model."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Step(BaseModel):
    """One thing that was tried."""

    step: Literal["key", "reach", "models", "call"]
    ok: bool
    detail: str
    duration_ms: int


class ProviderReport(BaseModel):
    """What a worker found, step by step; later steps are missing where an earlier one makes them pointless."""

    provider_id: str
    generation: int
    ok: bool
    steps: tuple[Step, ...]


KIND = Kind("check_provider", Nothing, ProviderReport, None)
