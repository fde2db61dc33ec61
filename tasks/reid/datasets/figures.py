"""Drawn pedestrians and the cameras that see them, for a data set that is made on the spot.

All draws come from :class:`Draws` and all geometry is in whole numbers, so the same keys give the same pixels on every
machine. Pictures are drawn :data:`SCALE` times as large and averaged down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

T = TypeVar("T")
Colour = tuple[int, int, int]

SCALE = 4
UNITS = 1000  # a figure's height; its coordinates are (x to the right of its middle, y below its crown)
_PANORAMA = 4  # widths of a picture that a camera's background is wide

SKINS = ((241, 207, 180), (224, 177, 140), (188, 132, 94), (140, 92, 62), (92, 60, 42))
HAIRS = ((28, 24, 22), (70, 44, 28), (120, 78, 40), (206, 168, 92), (128, 52, 30), (150, 150, 150))
CLOTHES = (
    (32, 32, 36),
    (236, 234, 228),
    (132, 134, 138),
    (176, 34, 38),
    (32, 58, 124),
    (96, 150, 206),
    (44, 106, 56),
    (226, 190, 60),
    (222, 122, 40),
    (212, 124, 158),
    (110, 62, 128),
    (126, 92, 62),
)
LEGWEAR = (
    (30, 30, 34),
    (44, 60, 102),
    (110, 138, 176),
    (104, 106, 110),
    (188, 168, 130),
    (226, 224, 218),
    (110, 40, 44),
)
SHOES = ((24, 24, 24), (232, 232, 232), (120, 76, 46), (170, 40, 44))
BAGS = ((30, 30, 32), (140, 92, 50), (176, 36, 40), (40, 92, 130), (206, 176, 60), (90, 110, 70))

HAIRSTYLES = ("short", "short", "long", "tail", "bald", "cap")
PATTERNS = ("plain", "plain", "plain", "hoops", "stripes", "checks", "block", "print", "jacket", "jacket")
LOWERS = ("trousers", "trousers", "trousers", "shorts", "skirt")
BAG_KINDS = ("none", "none", "backpack", "satchel", "handbag")
SCENES = ("street", "park", "hall", "brick", "fence", "shop")
VIEWS = ("front", "back", "left", "right")


class Draws:
    """Random whole numbers from a key, the same on every machine and with every version of numpy.

    Made from the raw output of PCG64 and not by numpy's ``Generator``, whose draws may change between versions.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def between(self, low: int, high: int) -> int:
        """Uniform on low..high, both included (the span is far below 2^32)."""
        return low + ((int(self._bits.random_raw()) >> 32) * (high - low + 1) >> 32)

    def chance(self, percent: int) -> bool:
        """True in so many of 100 cases."""
        return self.between(0, 99) < percent

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.between(0, len(items) - 1)]

    def near(self, colour: Colour, spread: int) -> Colour:
        """A colour whose channels differ by at most ``spread``."""
        return tuple(min(255, max(0, c + self.between(-spread, spread))) for c in colour)

    def noise(self, shape: tuple[int, ...], amplitude: int) -> np.ndarray:
        """Roughly normal whole numbers within +-2 ``amplitude``, int16."""
        count = int(np.prod(shape))
        raw = self._bits.random_raw((count + 1) // 2).astype("<u8").view("<u2")[:count].view(np.uint8)
        # Four half-bytes: their sum less its mean is within +-30.
        total = (raw & 15).astype(np.int16) + (raw >> 4)
        return ((total[0::2] + total[1::2] - 30) * amplitude // 15).reshape(shape)


@dataclass(frozen=True)
class Look:
    """What tells a person from others."""

    skin: Colour
    hair: Colour
    hairstyle: str
    cap: Colour
    shirt: Colour
    second: Colour
    pattern: str
    long_sleeves: bool
    lower: str
    legwear: Colour
    shoes: Colour
    bag: str
    bag_colour: Colour
    build: int
    height: int

    @classmethod
    def draw(cls, draws: Draws) -> Look:
        """A person; colours are a few with small shades, so that similar ones occur."""
        shirt = draws.choice(CLOTHES)
        others = [colour for colour in CLOTHES if colour != shirt]
        pattern = draws.choice(PATTERNS)
        return cls(
            skin=draws.near(draws.choice(SKINS), 8),
            hair=draws.near(draws.choice(HAIRS), 6),
            hairstyle=draws.choice(HAIRSTYLES),
            cap=draws.choice(CLOTHES),
            shirt=draws.near(shirt, 10),
            second=draws.near(draws.choice(others), 10),
            pattern=pattern,
            long_sleeves=pattern == "jacket" or draws.chance(50),
            lower=draws.choice(LOWERS),
            legwear=draws.near(draws.choice(LEGWEAR), 8),
            shoes=draws.choice(SHOES),
            bag=draws.choice(BAG_KINDS),
            bag_colour=draws.near(draws.choice(BAGS), 8),
            build=draws.between(84, 118),
            height=draws.between(92, 104),
        )


@dataclass(frozen=True)
class Camera:
    """What a camera does to what it sees; ``number`` and ``seed`` key its background."""

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
        draws = Draws(seed, 1, number)
        light = draws.between(72, 122)
        warm = draws.between(-14, 14)
        return cls(
            seed=seed,
            number=number,
            scene=SCENES[(number - 1) % len(SCENES)],
            view=VIEWS[(number - 1) % len(VIEWS)],
            gain=(light + warm, light + draws.between(-5, 5), light - warm),
            lift=draws.between(0, 28),
            blur=draws.between(0, 3),
            coarse=number % 3 == 0,
            noise=draws.between(2, 8),
            distance=draws.between(90, 102),
            occlusion=draws.between(8, 26),
        )


@dataclass(frozen=True)
class Pose:
    """How a person stands in one picture: view, legs apart, arms, place and size."""

    view: str
    stride: int
    swing: int
    shift: int
    rise: int
    size: int

    @classmethod
    def draw(cls, draws: Draws, camera: Camera) -> Pose:
        """A pose as the camera usually sees it, and any other view in a part of the pictures."""
        return cls(
            view=camera.view if draws.chance(55) else draws.choice(VIEWS),
            stride=draws.between(-70, 70),
            swing=draws.between(-60, 60),
            shift=draws.between(-70, 70),
            rise=draws.between(-25, 25),
            size=camera.distance + draws.between(-5, 5),
        )


def _blend(first: Colour, second: Colour, percent: int) -> Colour:
    """``percent`` of the second colour in the first."""
    return tuple((a * (100 - percent) + b * percent) // 100 for a, b in zip(first, second))


def _dark(colour: Colour, percent: int = 25) -> Colour:
    return _blend(colour, (0, 0, 0), percent)


class Figure:
    """Draws a person into a picture, from a look and a pose."""

    def __init__(self, image: Image.Image, look: Look, pose: Pose) -> None:
        self.pen, self.look, self.pose = ImageDraw.Draw(image), look, pose
        width, height = image.size
        self.tall = height * 92 * look.height * pose.size // 1_000_000
        self.middle = width // 2 + width * pose.shift // UNITS
        self.top = (height - self.tall) * 6 // 10 + height * pose.rise // UNITS
        self.side = pose.view in ("left", "right")
        self.facing = -1 if pose.view == "left" else 1
        self.broad = look.build * (66 if self.side else 100) // 100

    def at(self, x: int, y: int) -> tuple[int, int]:
        """Pixel of a point given in units."""
        return self.middle + x * self.tall // UNITS, self.top + y * self.tall // UNITS

    def shape(self, colour: Colour, *points: tuple[int, int]) -> None:
        """A filled polygon."""
        self.pen.polygon([self.at(*point) for point in points], fill=colour)

    def oval(self, colour: Colour, x: int, y: int, rx: int, ry: int) -> None:
        """A filled ellipse around a point."""
        self.pen.ellipse([self.at(x - rx, y - ry), self.at(x + rx, y + ry)], fill=colour)

    def limb(self, colour: Colour, start: tuple[int, int], end: tuple[int, int], thick: int, thin: int) -> None:
        """A part of an arm or a leg with round ends; the widths are half widths at its two ends."""
        (x0, y0), (x1, y1) = start, end
        self.shape(colour, (x0 - thick, y0), (x0 + thick, y0), (x1 + thin, y1), (x1 - thin, y1))
        self.oval(colour, x0, y0, thick, thick)
        self.oval(colour, x1, y1, thin, thin)

    def draw(self) -> None:
        """The whole person, from the far side to the near one."""
        look, view = self.look, self.pose.view
        if look.bag == "backpack" and view == "front":
            self.backpack()
        if look.hairstyle == "long" and view == "front":
            self.oval(look.hair, 0, 120, 72, 108)
        self.arm(-1)
        self.leg(-1)
        self.leg(1)
        if look.lower == "skirt":
            self.skirt()
        self.torso()
        if look.bag == "backpack" and view != "front":
            self.backpack()
        self.head()
        if look.bag == "backpack" and view == "front":
            for x in (-1, 1):
                self.shape(look.bag_colour, (x * 50, 165), (x * 74, 165), (x * 82, 330), (x * 62, 330))
        if look.bag == "satchel":
            self.satchel()
        self.arm(1)
        if look.bag == "handbag":
            self.handbag()

    def edge(self, y: int) -> int:
        """Half the torso's width at a height between shoulders and hip."""
        shoulder, waist = 122 * self.broad // 100, 98 * self.broad // 100
        return shoulder + (waist - shoulder) * (y - 160) // 350

    def band(self, colour: Colour, top: int, bottom: int, left: int = -100, right: int = 100) -> None:
        """A part of the torso between two heights; left and right in percent of its half width."""
        a, b = self.edge(top), self.edge(bottom)
        self.shape(
            colour,
            (a * left // 100, top),
            (a * right // 100, top),
            (b * right // 100, bottom),
            (b * left // 100, bottom),
        )

    def torso(self) -> None:
        """Neck, shirt and its pattern."""
        look = self.look
        self.shape(_dark(look.skin, 15), (-34, 120), (34, 120), (38, 172), (-38, 172))
        self.band(look.shirt, 160, 510)
        self.oval(look.shirt, 0, 172, self.edge(160), 26)
        if look.pattern in ("hoops", "checks"):
            for y in range(195, 500, 88):
                self.band(look.second, y, y + 40)
        if look.pattern in ("stripes", "checks"):
            for x in range(-84, 84, 48):
                self.band(look.second, 160, 510, x, x + 20)
        if look.pattern == "block":
            self.band(look.second, 320, 510)
        if look.pattern == "print" and self.pose.view == "front":
            self.oval(look.second, 0, 275, 62, 58)
        if look.pattern == "jacket" and self.pose.view == "front":
            self.band(look.second, 160, 510, -30, 30)
        if look.pattern == "jacket" and self.side:
            front = (60, 100) if self.facing > 0 else (-100, -60)
            self.band(look.second, 160, 510, *front)
        self.band(_dark(look.legwear, 50), 496, 512)

    def leg(self, near: int) -> None:
        """One leg; the far one is darker."""
        look, pose = self.look, self.pose
        if self.side:
            hip, knee = near * 12, near * pose.stride * 9 // 10 + self.facing * 14
            ankle = near * pose.stride * 17 // 10
        else:
            hip, knee, ankle = near * 50, near * (54 + pose.stride // 12), near * (56 + pose.stride // 8)
        lift = max(0, near * pose.stride) // 3
        cloth = look.legwear if near > 0 else _dark(look.legwear, 14)
        skin = look.skin if near > 0 else _dark(look.skin, 14)
        thick = 50 * look.build // 100
        if look.lower == "trousers":
            self.limb(cloth, (hip, 520), (knee, 735), thick, thick * 8 // 10)
            self.limb(cloth, (knee, 735), (ankle, 935 - lift), thick * 8 // 10, thick * 7 // 10)
        else:
            self.limb(skin, (knee, 735), (ankle, 935 - lift), thick * 7 // 10, thick * 5 // 10)
            upper = cloth if look.lower == "shorts" else skin
            self.limb(upper, (hip, 520), (knee, 720), thick, thick * 9 // 10)
        toe = self.facing * 34 if self.side else near * 10
        self.oval(look.shoes, ankle + toe, 968 - lift, 62 if self.side else 42, 28)

    def skirt(self) -> None:
        """A skirt down to the knees."""
        waist, hem = 96 * self.broad // 100, 150 * self.broad // 100
        self.shape(self.look.legwear, (-waist, 495), (waist, 495), (hem, 715), (-hem, 715))

    def hand(self, near: int) -> tuple[int, int]:
        """Where a hand is."""
        swing = self.pose.swing
        if self.side:
            return near * swing * 22 // 10 + self.facing * 20, 530 - abs(swing) // 2
        return near * (self.edge(160) + 44 + swing // 6), 535 - abs(swing) // 3

    def arm(self, near: int) -> None:
        """One arm; seen from the front both are beside the torso."""
        look = self.look
        cloth = _dark(look.shirt, 16 if near > 0 else 30)
        skin = look.skin if near > 0 else _dark(look.skin, 12)
        thick, (hand_x, hand_y) = 36 * look.build // 100, self.hand(near)
        shoulder = near * 8 if self.side else near * (self.edge(160) + 6)
        elbow = ((shoulder + hand_x) // 2 - (self.facing * 16 if self.side else -near * 12), 355)
        self.limb(cloth if look.long_sleeves else skin, elbow, (hand_x, hand_y - 30), thick * 8 // 10, thick * 6 // 10)
        self.limb(cloth, (shoulder, 195), elbow if look.long_sleeves else (elbow[0], 320), thick, thick * 9 // 10)
        self.oval(skin, hand_x, hand_y, 25, 30)

    def head(self) -> None:
        """Face, hair or cap as seen from the view."""
        look, view = self.look, self.pose.view
        top, hair = (look.cap if look.hairstyle == "cap" else look.hair), look.hairstyle != "bald"
        if self.side:
            self.oval(look.skin, self.facing * 4, 76, 60, 74)
            self.oval(look.skin, self.facing * 62, 86, 12, 12)
        else:
            self.oval(look.skin, 0, 76, 54, 74)
        if view == "back" and hair:
            self.oval(look.hair, 0, 70, 57, 68)
        elif view == "front":
            for x in (-22, 22):
                self.oval((40, 32, 30), x, 78, 7, 6)
            self.shape((150, 80, 72), (-16, 116), (16, 116), (10, 124), (-10, 124))
        if hair:
            self.pen.pieslice([self.at(-62, -8), self.at(62, 128)], 180, 360, fill=top)
        if hair and self.side:
            x = -self.facing * 34
            self.shape(
                top if look.hairstyle != "cap" else look.hair, (x - 28, 50), (x + 28, 50), (x + 18, 118), (x - 22, 118)
            )
        if look.hairstyle == "cap" and view != "back":
            brim = self.facing * 56 if self.side else 0
            self.oval(_dark(look.cap), brim, 52, 44, 11)
        if look.hairstyle == "long" and view != "front":
            x = -self.facing * 30 if self.side else 0
            self.oval(look.hair, x, 130, 40 if self.side else 72, 108)
        if look.hairstyle == "tail" and view != "front":
            x = -self.facing * 74 if self.side else 0
            self.oval(_dark(look.hair, 20), x, 120, 22, 74)

    def backpack(self) -> None:
        """A backpack: behind the shoulders, at the back, or covering it."""
        colour = self.look.bag_colour
        if self.side:
            x = -self.facing * (self.edge(300) + 42)
            self.oval(colour, x, 310, 62, 136)
            self.oval(_dark(colour), x, 360, 40, 60)
        elif self.pose.view == "front":
            self.oval(colour, 0, 230, self.edge(200) + 18, 90)
        else:
            wide = 96 * self.broad // 100
            self.shape(colour, (-wide, 190), (wide, 190), (wide, 440), (-wide, 440))
            self.oval(colour, 0, 192, wide, 40)
            self.shape(
                _dark(colour),
                (-wide * 7 // 10, 320),
                (wide * 7 // 10, 320),
                (wide * 7 // 10, 420),
                (-wide * 7 // 10, 420),
            )

    def satchel(self) -> None:
        """A bag at the hip with its strap across the torso; it hangs on the person's own left."""
        colour = self.look.bag_colour
        sign = -1 if self.pose.view == "back" else 1
        hip = sign * (self.edge(500) + 8) if not self.side else self.facing * -10
        shoulder = -sign * self.edge(160) * 7 // 10 if not self.side else self.facing * 20
        self.shape(_dark(colour), (shoulder - 12, 160), (shoulder + 12, 160), (hip + 12, 480), (hip - 12, 480))
        self.shape(colour, (hip - 74, 470), (hip + 74, 470), (hip + 66, 600), (hip - 66, 600))
        self.shape(_dark(colour), (hip - 74, 470), (hip + 74, 470), (hip + 70, 515), (hip - 70, 515))

    def handbag(self) -> None:
        """A bag in the near hand."""
        colour, (x, y) = self.look.bag_colour, self.hand(1)
        self.shape(_dark(colour), (x - 8, y), (x + 8, y), (x + 34, y + 60), (x - 34, y + 60))
        self.shape(colour, (x - 52, y + 50), (x + 52, y + 50), (x + 66, y + 160), (x - 66, y + 160))


def background(camera: Camera, *, height: int, width: int) -> Image.Image:
    """A camera's scene for pictures of height x width: :data:`SCALE` times as large and several times as wide, RGB."""
    tall, wide = height * SCALE, width * SCALE * _PANORAMA
    draws = Draws(camera.seed, 2, camera.number)
    horizon = tall * draws.between(52, 70) // 100
    image = Image.new("RGB", (wide, tall), draws.near((150, 150, 146), 20))
    pen = ImageDraw.Draw(image)
    unit = tall // 16
    painter = {
        "street": _street,
        "park": _park,
        "hall": _hall,
        "brick": _brick,
        "fence": _fence,
        "shop": _shop,
    }[camera.scene]
    painter(pen, draws, (wide, tall, horizon, unit))
    return image


Place = tuple[int, int, int, int]


def _street(pen: ImageDraw.ImageDraw, draws: Draws, place: Place) -> None:
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


def _park(pen: ImageDraw.ImageDraw, draws: Draws, place: Place) -> None:
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


def _hall(pen: ImageDraw.ImageDraw, draws: Draws, place: Place) -> None:
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


def _brick(pen: ImageDraw.ImageDraw, draws: Draws, place: Place) -> None:
    """A brick wall behind cobbles."""
    wide, tall, horizon, unit = place
    pen.rectangle([0, 0, wide, horizon], fill=(178, 164, 150))
    high = unit * 2 // 3
    for row, y in enumerate(range(0, horizon, high)):
        for x in range(-unit * (row % 2) // 1, wide, unit * 2):
            pen.rectangle([x + 2, y + 2, x + unit * 2 - 3, y + high - 3], fill=draws.near((150, 78, 60), 16))
    pen.rectangle([0, horizon, wide, tall], fill=(98, 96, 96))
    for y in range(horizon, tall, unit * 2 // 3):
        for x in range(0, wide, unit):
            pen.ellipse([x + 2, y + 2, x + unit - 2, y + unit * 2 // 3 - 2], fill=draws.near((126, 124, 122), 12))


def _fence(pen: ImageDraw.ImageDraw, draws: Draws, place: Place) -> None:
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


def _shop(pen: ImageDraw.ImageDraw, draws: Draws, place: Place) -> None:
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


def take_picture(
    look: Look | None, camera: Camera, scene: Image.Image, draws: Draws, *, height: int, width: int
) -> Image.Image:
    """A picture of a person, or of nobody, before a camera's :func:`background`, RGB of height x width."""
    left = draws.between(0, scene.width - width * SCALE)
    image = scene.crop((left, 0, left + width * SCALE, height * SCALE))
    if look is not None:
        pose = Pose.draw(draws, camera)
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
        pen.rectangle([x, tall - high, x + wide * 6 // 10, tall - high + tall // 40], fill=_dark(colour))
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
