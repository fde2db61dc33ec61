"""The cameras of the generated set: their scenes, and what lens, sensor and light make of a picture.

All geometry is in whole numbers, so the same keys give the same pixels on every machine. Pictures are drawn
:data:`SCALE` times as large and averaged down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tasks.reid.datasets.draws import CAMERA, SCENE, Draws, dark
from tasks.reid.datasets.figures import VIEWS, Figure, Look, Pose

SCALE = 4
_PANORAMA = 4  # widths of a picture that a scene is wide


class _Place(NamedTuple):
    """Where a scene is painted, in pixels: its size, the line where the ground begins, and a length for details."""

    wide: int
    tall: int
    horizon: int
    unit: int


def _street(pen: ImageDraw.ImageDraw, draws: Draws, place: _Place) -> None:
    """House fronts with windows, a pavement, a kerb and a road."""
    wide, tall, horizon, unit = place
    x = 0
    while x < wide:
        step = unit * draws.between(5, 10)
        wall = draws.near(draws.choice(((176, 160, 140), (150, 120, 104), (190, 188, 180))), 16)
        pen.rectangle([x, 0, x + step, horizon], fill=wall)
        for left in range(x + unit // 2, x + step - unit, unit * 2):
            for top in range(unit // 2, horizon - unit * 2, unit * 3):
                pen.rectangle([left, top, left + unit, top + unit * 3 // 2], fill=draws.near((70, 84, 100), 20))
        x += step
    pen.rectangle([0, horizon, wide, tall], fill=(158, 156, 150))
    for x in range(0, wide, unit * 2):
        pen.line([x, horizon, x - unit * 2, tall], fill=(136, 134, 130), width=3)
    pen.rectangle([0, tall - unit * 2, wide, tall], fill=(84, 84, 88))
    pen.rectangle([0, tall - unit * 2, wide, tall - unit * 2 + 6], fill=(200, 198, 190))


def _park(pen: ImageDraw.ImageDraw, draws: Draws, place: _Place) -> None:
    """Sky, bushes, trees and grass with a path."""
    wide, tall, horizon, unit = place
    pen.rectangle([0, 0, wide, horizon], fill=(176, 200, 220))
    for _ in range(wide // unit):
        x, y, r = draws.between(0, wide), horizon - draws.between(0, unit * 5), draws.between(unit, unit * 2)
        pen.ellipse([x - r, y - r, x + r, y + r], fill=draws.near((62, 104, 54), 22))
    for x in range(unit * 3, wide, unit * 9):
        pen.rectangle([x, 0, x + unit * 2 // 3, horizon + unit], fill=(86, 66, 50))
    pen.rectangle([0, horizon, wide, tall], fill=(104, 142, 74))
    pen.rectangle([0, tall - unit * 3, wide, tall], fill=(190, 176, 146))
    for _ in range(wide // unit * 3):
        x, y = draws.between(0, wide), draws.between(horizon, tall - unit * 3)
        pen.line([x, y, x + 3, y - unit // 3], fill=draws.near((86, 126, 60), 14), width=3)


def _hall(pen: ImageDraw.ImageDraw, draws: Draws, place: _Place) -> None:
    """A plain wall with doors and a tiled floor."""
    wide, tall, horizon, unit = place
    pen.rectangle([0, 0, wide, horizon], fill=(206, 196, 176))
    pen.rectangle([0, horizon - unit // 2, wide, horizon], fill=(120, 110, 98))
    for x in range(unit * 2, wide, unit * 10):
        pen.rectangle([x, unit * 2, x + unit * 4, horizon], fill=draws.near((132, 96, 66), 18))
        pen.rectangle([x + unit * 7, unit * 3, x + unit * 9, unit * 6], fill=draws.near((120, 140, 160), 40))
    pen.rectangle([0, horizon, wide, tall], fill=(182, 178, 170))
    for x in range(-wide, wide * 2, unit * 2):
        pen.line([wide // 2 + (x - wide // 2) // 2, horizon, x, tall], fill=(150, 146, 140), width=3)
    for y in range(horizon, tall, unit):
        pen.line([0, y, wide, y], fill=(150, 146, 140), width=3)


def _brick(pen: ImageDraw.ImageDraw, draws: Draws, place: _Place) -> None:
    """A brick wall behind cobbles."""
    wide, tall, horizon, unit = place
    pen.rectangle([0, 0, wide, horizon], fill=(178, 164, 150))
    high = unit * 2 // 3
    for row, y in enumerate(range(0, horizon, high)):
        for x in range(-unit * (row % 2), wide, unit * 2):
            pen.rectangle([x + 2, y + 2, x + unit * 2 - 3, y + high - 3], fill=draws.near((150, 78, 60), 16))
    pen.rectangle([0, horizon, wide, tall], fill=(98, 96, 96))
    for y in range(horizon, tall, unit * 2 // 3):
        for x in range(0, wide, unit):
            pen.ellipse([x + 2, y + 2, x + unit - 2, y + unit * 2 // 3 - 2], fill=draws.near((126, 124, 122), 12))


def _fence(pen: ImageDraw.ImageDraw, draws: Draws, place: _Place) -> None:
    """A railing before water, and planks."""
    wide, tall, horizon, unit = place
    pen.rectangle([0, 0, wide, horizon // 2], fill=(196, 206, 214))
    pen.rectangle([0, horizon // 2, wide, horizon], fill=(92, 128, 150))
    for _ in range(wide // unit * 2):
        x, y = draws.between(0, wide), draws.between(horizon // 2, horizon)
        pen.line([x, y, x + unit, y], fill=(132, 162, 178), width=3)
    pen.rectangle([0, horizon, wide, tall], fill=(150, 122, 92))
    for y in range(horizon, tall, unit):
        pen.line([0, y, wide, y], fill=(112, 88, 64), width=4)
    for x in range(0, wide, unit):
        pen.rectangle([x, horizon - unit * 5, x + unit // 5, horizon + unit // 2], fill=(60, 62, 66))
    pen.rectangle([0, horizon - unit * 5, wide, horizon - unit * 5 + unit // 3], fill=(60, 62, 66))


def _shop(pen: ImageDraw.ImageDraw, draws: Draws, place: _Place) -> None:
    """Lit shop windows with goods under a sign, and dark paving."""
    wide, tall, horizon, unit = place
    pen.rectangle([0, 0, wide, horizon], fill=(58, 56, 60))
    for x in range(0, wide, unit * 8):
        pen.rectangle([x, 0, x + unit * 8, unit * 2], fill=draws.near((150, 60, 70), 70))
        pen.rectangle([x + unit // 2, unit * 3, x + unit * 7, horizon - unit], fill=(222, 208, 170))
        for _ in range(9):
            left, top = x + unit + unit * draws.between(0, 4), unit * draws.between(4, 8)
            goods = [left, top, left + unit * draws.between(1, 2), top + unit * draws.between(1, 2)]
            pen.rectangle(goods, fill=draws.near((140, 120, 120), 90))
    pen.rectangle([0, horizon, wide, tall], fill=(92, 90, 92))
    for x in range(0, wide, unit * 3):
        pen.line([x, horizon, x + unit * 3, tall], fill=(72, 70, 72), width=4)


SCENES = {"street": _street, "park": _park, "hall": _hall, "brick": _brick, "fence": _fence, "shop": _shop}


@dataclass(frozen=True)
class Camera:
    """Where a camera stands and what it does to what it sees.

    Attributes:
        seed: of the set.
        number: of the camera, from 1; with ``seed`` the key of its scene.
        scene: key of :data:`SCENES`.
        view: from where it usually sees people.
        gain: brightness of red, green and blue in percent.
        lift: value of black.
        blur: radius in pixels before averaging down.
        coarse: half the resolution.
        noise: amplitude, see :meth:`Draws.noise`.
        distance: height of people in percent.
        occlusion: pictures with something in front, in percent.
    """

    seed: int
    number: int
    scene: str
    view: str
    gain: tuple[int, int, int]
    lift: int
    blur: int
    coarse: bool
    noise: int
    distance: int
    occlusion: int

    @classmethod
    def draw(cls, seed: int, number: int) -> Camera:
        """Camera ``number`` (from 1); neighbouring numbers differ in scene and usual view."""
        draws = Draws(seed, CAMERA, number)
        light = draws.between(72, 122)
        warm = draws.between(-14, 14)
        return cls(
            seed=seed,
            number=number,
            scene=list(SCENES)[(number - 1) % len(SCENES)],
            view=VIEWS[(number - 1) % len(VIEWS)],
            gain=(light + warm, light + draws.between(-5, 5), light - warm),
            lift=draws.between(0, 28),
            blur=draws.between(0, 3),
            coarse=number % 3 == 0,
            noise=draws.between(2, 8),
            distance=draws.between(90, 102),
            occlusion=draws.between(8, 26),
        )


def background(camera: Camera, *, height: int, width: int) -> Image.Image:
    """A camera's scene for pictures of height x width: :data:`SCALE` times as large and several times as wide, RGB."""
    tall, wide = height * SCALE, width * SCALE * _PANORAMA
    draws = Draws(camera.seed, SCENE, camera.number)
    horizon = tall * draws.between(52, 70) // 100
    image = Image.new("RGB", (wide, tall), draws.near((150, 150, 146), 20))
    pen = ImageDraw.Draw(image)
    SCENES[camera.scene](pen, draws, _Place(wide, tall, horizon, tall // 16))
    return image


def take_picture(
    look: Look | None, camera: Camera, scene: Image.Image, draws: Draws, *, height: int, width: int
) -> Image.Image:
    """A picture of a person, or of nobody, before a camera's :func:`background`, RGB of height x width."""
    left = draws.between(0, scene.width - width * SCALE)
    image = scene.crop((left, 0, left + width * SCALE, height * SCALE))
    if look is not None:
        pose = Pose.draw(draws, usual=camera.view, distance=camera.distance)
        figure = Figure(image, look, pose)
        figure.oval((70, 68, 68), 0, 982, 190, 28)
        figure.draw()
    if draws.chance(camera.occlusion):
        _occlude(image, draws)
    return _expose(image, camera, draws, height=height, width=width)


def _occlude(image: Image.Image, draws: Draws) -> None:
    """Something in front: a pole, a box at the feet or a rail."""
    pen, (wide, tall) = ImageDraw.Draw(image), image.size
    colour = draws.near(draws.choice(((70, 72, 76), (130, 110, 84), (60, 96, 70), (150, 60, 52))), 14)
    kind = draws.between(0, 2)
    if kind == 0:
        x = draws.between(0, wide - wide // 6)
        pen.rectangle([x, 0, x + wide // draws.between(7, 11), tall], fill=colour)
    elif kind == 1:
        x, high = draws.between(-wide // 4, wide // 2), tall * draws.between(18, 36) // 100
        pen.rectangle([x, tall - high, x + wide * 6 // 10, tall], fill=colour)
        pen.rectangle([x, tall - high, x + wide * 6 // 10, tall - high + tall // 40], fill=dark(colour))
    else:
        y = tall * draws.between(45, 75) // 100
        pen.rectangle([0, y, wide, y + tall // draws.between(16, 26)], fill=colour)


def _expose(image: Image.Image, camera: Camera, draws: Draws, *, height: int, width: int) -> Image.Image:
    """What the camera's lens, sensor and light make of a scene; averages it down to the picture's size."""
    if camera.blur:
        image = image.filter(ImageFilter.BoxBlur(camera.blur))
    if camera.coarse:
        image = image.reduce(SCALE * 2).resize((width, height), Image.Resampling.BILINEAR)
    else:
        image = image.reduce(SCALE)
    light = draws.between(-10, 10)
    table = [
        min(255, max(0, camera.lift + (255 - camera.lift) * value * (gain + light) // 25500))
        for gain in camera.gain
        for value in range(256)
    ]
    pixels = np.asarray(image.point(table)).astype(np.int16)
    pixels += draws.noise(pixels.shape, camera.noise)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
