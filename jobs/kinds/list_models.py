"""Kind ``list_models``: what models does this provider's endpoint offer now?"""

from pydantic import BaseModel

from config.providers import Model
from jobs.kind import Kind
from jobs.kinds.check_provider import Nothing


class ModelList(BaseModel):
    """The models, by id; prices are not among what endpoints tell."""

    models: tuple[Model, ...]


KIND = Kind("list_models", Nothing, ModelList, None, max_attempts=3, total_time_s=30.0)
