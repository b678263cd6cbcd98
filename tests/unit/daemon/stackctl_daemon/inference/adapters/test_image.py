"""Pictures: every mode to upright RGB, and what is refused."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stackctl.errors import Failed, Invalid
from stackctl_daemon.inference.adapters.base import Input
from stackctl_daemon.inference.adapters.image import (
    Bounds,
    decode,
    flatten,
    image_bytes,
    pixels,
    resample,
)

RED, BLUE = (204, 0, 51), (0, 51, 204)  # of the web palette


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def two_halves(mode: str = "RGB") -> Image.Image:
    """Red on the left, blue on the right."""
    picture = Image.new("RGB", (16, 8), RED)
    picture.paste(BLUE, (8, 0, 16, 8))
    return picture.convert(mode)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGB", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("P", "GIF"), ("RGB", "BMP"),
        ("RGB", "TIFF"), ("CMYK", "TIFF"), ("RGB", "WEBP"), ("RGB", "PPM"), ("RGB", "JPEG"),
        ("CMYK", "JPEG"),
    ],
)  # fmt: skip
def test_modes_and_formats_become_rgb(mode: str, kind: str) -> None:
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    options |= {"quality": 95} if kind == "JPEG" else {}

    found = pixels(decode(encoded(two_halves(mode), kind, **options))).astype(int)

    assert found.shape == (8, 16, 3)
    assert np.abs(found[4, 2] - RED).max() <= 8
    assert np.abs(found[4, 13] - BLUE).max() <= 8


def test_what_shows_through_is_white() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    indexed = Image.new("P", (4, 4), 0)

    found = [decode(encoded(clear)), decode(encoded(indexed, transparency=0))]

    assert [pixels(item).min() for item in found] == [255, 255]


def test_16_bit_greys_keep_their_upper_byte() -> None:
    ramp = np.arange(0, 65536, 4096, dtype=np.uint16).reshape(4, 4)

    found = pixels(decode(encoded(Image.fromarray(ramp))))

    np.testing.assert_array_equal(found[..., 1], ramp >> 8)


def test_floats_of_one_and_of_255_are_told_apart() -> None:
    ramp = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)

    ones = pixels(decode(encoded(Image.fromarray(ramp), "TIFF")))
    bytes_ = pixels(decode(encoded(Image.fromarray(ramp * 255), "TIFF")))

    np.testing.assert_array_equal(ones, bytes_)
    assert (ones[-1, -1, 0], ones[0, 0, 0]) == (255, 0)


def test_animations_give_their_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]

    found = decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))

    assert np.abs(pixels(found)[0, 0].astype(int) - RED).max() <= 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_cameras_orientation_is_undone(orientation: int) -> None:
    upright = Image.fromarray(np.random.default_rng(1).integers(0, 255, (6, 9, 3), np.uint8))
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    notes = Image.Exif()
    notes[0x0112] = orientation

    found = decode(encoded(stored, exif=notes))

    np.testing.assert_array_equal(pixels(found), pixels(upright))


def test_broken_notes_do_not_spoil_a_picture() -> None:
    data = encoded(two_halves(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")

    assert decode(data).size == (16, 8)


def test_large_jpegs_come_smaller_where_they_may() -> None:
    data = encoded(Image.new("RGB", (1600, 1200), RED), "JPEG")

    assert decode(data, draft=300).size == (400, 300)
    assert decode(data).size == (1600, 1200)


def bomb() -> bytes:
    """A PNG that claims 20,000 x 20,000 pixels in a few bytes."""
    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


PNG = encoded(Image.radial_gradient("L"))


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"plain words", "input 3 is not an image: 11 bytes that begin with b'plain wo'"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (PNG[:20], "not an image"),
        (PNG[: len(PNG) // 2], "a PNG image of 256 x 256 pixels that cannot be decoded"),
        (PNG[:60] + b"\0" * 40 + PNG[100:], "cannot be decoded"),
        (
            encoded(Image.effect_noise((64, 64), 90), "JPEG")[:-900],
            "64 x 64 pixels that cannot be",
        ),
        (bomb(), "20000 x 20000 pixels, expected at most 64000000 in all"),
        (encoded(Image.new("L", (1, 1))), "1 x 1 pixels, expected sides of at least 2"),
    ],
)
def test_bad_pictures_are_named(data: bytes, got: str) -> None:
    with pytest.raises(Invalid) as caught:
        decode(data, what="input 3")

    assert got in caught.value.message
    assert "expected" in caught.value.message


def test_bounds_are_options() -> None:
    bounds = Bounds.of({"max_pixels": 100, "min_side": 9})

    with pytest.raises(Invalid, match="at most 100 in all"):
        decode(encoded(Image.new("L", (11, 10))), bounds=bounds)
    with pytest.raises(Invalid, match="at least 9"):
        decode(encoded(Image.new("L", (12, 8))), bounds=bounds)


@pytest.mark.parametrize(
    ("item", "got"),
    [
        (Input(text="a cat"), "input 1 is a text, expected the bytes of an image file"),
        (Input(data=b""), "input 1 is empty, expected"),
        (Input(tensors={}), "input 1 is tensors, expected"),
    ],
)
def test_inputs_that_are_no_pictures_are_named(item: Input, got: str) -> None:
    with pytest.raises(Invalid, match=got):
        image_bytes([Input(data=PNG), item], "m")


def test_a_quadrilateral_is_straightened() -> None:
    board = Image.new("RGB", (100, 100), (255, 255, 255))
    board.paste(two_halves().resize((40, 20)), (30, 40))
    turned = board.rotate(90)
    corners = np.array([[40, 70], [40, 30], [60, 30], [60, 70]], np.float64)

    found = pixels(flatten(turned, corners, (40, 20))).astype(int)

    assert np.abs(found[10, 5] - RED).max() < 8
    assert np.abs(found[10, 35] - BLUE).max() < 8


def test_corners_on_a_line_are_black() -> None:
    corners = np.zeros((4, 2))

    assert pixels(flatten(two_halves(), corners, (3, 2))).max() == 0


def test_an_unknown_filter_is_named() -> None:
    with pytest.raises(Failed, match='filter "sinc", known: nearest, '):
        resample("sinc")
