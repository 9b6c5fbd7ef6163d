"""Pictures in inputs: data URLs alone, since a remote URL would have the provider fetch what nobody here has seen."""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from jobs.chat import Image

MAX_IMAGE_BYTES = 4 * 2**20
"""Of one picture; Groq takes no more (its documentation on vision), OpenAI and Gemini do."""

MAX_JOB_BYTES = 12 * 2**20
"""Of all pictures of a job; Gemini takes requests of 20 MB, and base64 makes four bytes of three."""

_DATA_URL = re.compile(r"data:(image/(?:png|jpeg|webp|gif));base64,([A-Za-z0-9+/]+={0,2})", re.ASCII)


def _checked(url: str) -> str:
    found = _DATA_URL.fullmatch(url)
    if not found:
        raise ValueError("must be a data: URL of image/png, jpeg, webp or gif in base64")
    if len(found[2]) * 3 // 4 > MAX_IMAGE_BYTES + 2:
        raise ValueError(f"the image is larger than {MAX_IMAGE_BYTES // 2**20} MiB")
    try:
        b64decode(found[2], validate=True)
    except binascii.Error:
        raise ValueError("the image is not base64") from None
    return url


class ImageUrl(BaseModel):
    """Where the picture is: in the URL itself."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(_checked), Field(repr=False)]


class ImagePart(BaseModel):
    """A picture as a part of a message, in the shape of OpenAI's chat completions."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    type: Literal["image_url"]
    image_url: ImageUrl

    @property
    def image(self) -> Image:
        """The picture."""
        head, _, data = self.image_url.url.partition(";base64,")
        return Image(head.removeprefix("data:"), data)


def size_bytes(images: Iterable[ImagePart]) -> int:
    """Bytes of all pictures, without their base64."""
    return sum(len(image.image.base64) * 3 // 4 for image in images)
