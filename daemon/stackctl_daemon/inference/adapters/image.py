"""Bytes to pictures: the only importer of Pillow; refuses to know what a model makes of them.

Pillow is C that reads what strangers send: the formats are a list, the size is checked from the
header before a pixel is decoded, and whatever it raises is the picture's fault.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from stackctl.errors import Failed, Invalid
from stackctl_daemon.inference.adapters.base import Input

Picture = Image.Image
Pixels = npt.NDArray[np.uint8]

# Importing one registers its format; without a list Pillow tries all of its fifty.
_FILES = (
    PngImagePlugin.PngImageFile,
    JpegImagePlugin.JpegImageFile,
    MpoImagePlugin.MpoImageFile,
    WebPImagePlugin.WebPImageFile,
    GifImagePlugin.GifImageFile,
    BmpImagePlugin.BmpImageFile,
    TiffImagePlugin.TiffImageFile,
    PpmImagePlugin.PpmImageFile,
    IcoImagePlugin.IcoImageFile,
    Jpeg2KImagePlugin.Jpeg2KImageFile,
    AvifImagePlugin.AvifImageFile,
)
FORMATS = tuple(kind.format for kind in _FILES if kind.format in Image.OPEN)
MAX_PIXELS = 64_000_000
_ORIENTATION = 0x0112
# Our own bound comes first, and an exception says more than Pillow's warning.
Image.MAX_IMAGE_PIXELS = None
# A picture that ends early is refused, whatever another user of the library chose.
ImageFile.LOAD_TRUNCATED_IMAGES = False


class Bounds(NamedTuple):
    """What a picture may be."""

    max_pixels: int = MAX_PIXELS
    """Width times height; decoded it takes 3 bytes a pixel."""
    min_side: int = 2
    """Of width and height, in pixels."""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Bounds:
        """Read ``max_pixels`` and ``min_side`` of a model's options."""
        return cls(
            int(options.get("max_pixels", MAX_PIXELS)),
            int(options.get("min_side", cls().min_side)),
        )


_ANY = Bounds()


def image_bytes(inputs: Sequence[Input], model: str) -> list[bytes]:
    """Give the bytes of inputs that are to be pictures.

    Raises:
        Invalid: one is a text or tensors, or is empty.
    """
    found = []
    for index, item in enumerate(inputs):
        if item.data is None:
            kind = "a text" if item.text is not None else "tensors"
            raise Invalid(
                f'model "{model}": input {index} is {kind}, expected the bytes of an image file',
                hint=f"stackctl models run {model} photo.jpg",
            )
        if not item.data:
            raise Invalid(
                f'model "{model}": input {index} is empty, expected the bytes of an image file',
                hint=f"stackctl models run {model} photo.jpg",
            )
        found.append(item.data)
    return found


def decode(data: bytes, *, bounds: Bounds = _ANY, what: str = "input", draft: int = 0) -> Picture:
    """Decode a picture to upright RGB; of an animation the first frame.

    What shows through is white, 16-bit greys lose their lower byte, CMYK is converted without a
    colour profile.

    Args:
        data: a file in one of `FORMATS`.
        bounds: what it may be.
        what: how a message names it.
        draft: above 0: a JPEG may come at 1/2, 1/4 or 1/8 of its size as long as both sides keep
            at least this many pixels, which costs a fraction of the time.

    Raises:
        Invalid: it is no such file, it ends early, or its size is out of bounds.
    """
    with warnings.catch_warnings():  # what is odd about a file is not its reader's business
        warnings.simplefilter("ignore")
        return _decode(data, bounds, what, draft)


def pixels(picture: Picture) -> Pixels:
    """Give ``(height, width, 3)`` uint8, RGB."""
    return np.asarray(picture, np.uint8)


def letterbox(picture: Picture, size: tuple[int, int], colour: tuple[int, int, int]) -> Picture:
    """Put a picture in the middle of a larger one of one colour; ``size`` is width, height."""
    board = Image.new("RGB", size, colour)
    board.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
    return board


def jpeg_round_trip(picture: Picture, quality: int) -> Picture:
    """Compress and decode, for models whose training data went through it."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def resample(name: str) -> Image.Resampling:
    """Give a filter by name.

    Raises:
        Failed: there is none of this name.
    """
    try:
        return Image.Resampling[name.upper()]
    except KeyError as err:
        known = ", ".join(item.name.lower() for item in Image.Resampling)
        raise Failed(f'no resampling filter "{name}", known: {known}') from err


def _decode(data: bytes, bounds: Bounds, what: str, draft: int) -> Picture:
    accepted = f"expected a whole {', '.join(FORMATS)} file"
    try:
        picture: Picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as err:  # its parsers raise what they happen upon
        raise Invalid(
            f"{what} is not an image: {len(data)} bytes that begin with {data[:8]!r}, {accepted}",
            hint="file FILE",
        ) from err
    width, height = picture.size
    named = f"{what} is a {picture.format} image of {width} x {height} pixels"
    if width * height > bounds.max_pixels:
        raise Invalid(
            f"{named}, expected at most {bounds.max_pixels} in all",
            hint="convert FILE -resize 4096x4096 SMALLER.jpg",
        )
    if min(width, height) < bounds.min_side:
        raise Invalid(f"{named}, expected sides of at least {bounds.min_side}")
    try:
        if draft and picture.format == "JPEG":
            picture.draft("RGB", (draft, draft))
        picture.load()
        turn = _TURNS.get(_orientation(picture))
        found = _rgb(picture)
        return found if turn is None else found.transpose(turn)
    except Exception as err:  # as above
        raise Invalid(f"{named} that cannot be decoded: {err}, {accepted}") from err


def _rgb(picture: Picture) -> Picture:
    mode = picture.mode
    if mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    elif mode == "I":
        values = np.asarray(picture)
        wide = bool(values.max() > 255)
        values = values >> 8 if wide else values
        picture = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    elif mode == "F":
        floats = np.nan_to_num(np.asarray(picture))
        floats = floats * 255 if floats.max() <= 1 else floats
        picture = Image.fromarray(np.clip(floats, 0, 255).astype(np.uint8))
    elif picture.has_transparency_data:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, layer)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _orientation(picture: Picture) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken notes do not spoil a picture
        return 1


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes an orientation of EXIF 2.32, table 6, tag 0x0112."""


def quarter_turn(picture: Picture, times: int) -> Picture:
    """Turn against the clock by 90 degrees, once, twice or three times."""
    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    return picture.transpose(turns[times - 1])


def flatten(picture: Picture, corners: npt.NDArray[np.float64], size: tuple[int, int]) -> Picture:
    """Give a quadrilateral of a picture as a rectangle, cubic between pixels.

    Args:
        picture: RGB.
        corners: ``(4, 2)`` x, y of what becomes top left, top right, bottom right, bottom left.
        size: width and height of the result.

    Source: the projective map of Heckbert 1989, section 2.2.3: eight unknowns, two equations a
    corner.
    """
    width, height = size
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    rows = []
    for (u, v), (x, y) in zip(target, corners, strict=True):
        rows.append([u, v, 1, 0, 0, 0, -u * x, -v * x])
        rows.append([0, 0, 0, u, v, 1, -u * y, -v * y])
    try:
        solved = np.linalg.solve(np.array(rows), corners.reshape(-1))
    except np.linalg.LinAlgError:  # three corners on a line: nothing to see there
        return Image.new("RGB", size)
    return picture.transform(
        size, Image.Transform.PERSPECTIVE, solved.tolist(), Image.Resampling.BICUBIC
    )
