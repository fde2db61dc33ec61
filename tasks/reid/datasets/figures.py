"""Drawn pedestrians: what they look like, how they stand, and how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageDraw

from tasks.reid.datasets.draws import Colour, Draws, dark

UNITS = 1000  # a figure's height; its coordinates are (x to the right of its middle, y below its crown)

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
VIEWS = ("front", "back", "left", "right")


@dataclass(frozen=True)
class Look:
    """What tells a person from others; ``build`` (width) and ``height`` are in percent."""

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
class Pose:
    """How a person stands in one picture.

    Attributes:
        view: one of :data:`VIEWS`; 'left' is facing left.
        stride: how far the legs are apart, in units.
        swing: how far the arms are, in units.
        shift: to the right of the middle, in thousandths of the picture's width.
        rise: below the usual place, in thousandths of the picture's height.
        size: height in percent.
    """

    view: str
    stride: int
    swing: int
    shift: int
    rise: int
    size: int

    @classmethod
    def draw(cls, draws: Draws, *, usual: str, distance: int) -> Pose:
        """A pose seen from the ``usual`` view, or in some pictures from any; ``distance`` is a height in percent."""
        return cls(
            view=usual if draws.chance(55) else draws.choice(VIEWS),
            stride=draws.between(-70, 70),
            swing=draws.between(-60, 60),
            shift=draws.between(-70, 70),
            rise=draws.between(-25, 25),
            size=distance + draws.between(-5, 5),
        )


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
        self.shape(dark(look.skin, 15), (-34, 120), (34, 120), (38, 172), (-38, 172))
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
        self.band(dark(look.legwear, 50), 496, 512)

    def leg(self, near: int) -> None:
        """One leg; the far one is darker."""
        look, pose = self.look, self.pose
        if self.side:
            hip, knee = near * 12, near * pose.stride * 9 // 10 + self.facing * 14
            ankle = near * pose.stride * 17 // 10
        else:
            hip, knee, ankle = near * 50, near * (54 + pose.stride // 12), near * (56 + pose.stride // 8)
        lift = max(0, near * pose.stride) // 3
        cloth = look.legwear if near > 0 else dark(look.legwear, 14)
        skin = look.skin if near > 0 else dark(look.skin, 14)
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
        cloth = dark(look.shirt, 16 if near > 0 else 30)
        skin = look.skin if near > 0 else dark(look.skin, 12)
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
            self.oval(dark(look.cap), brim, 52, 44, 11)
        if look.hairstyle == "long" and view != "front":
            x = -self.facing * 30 if self.side else 0
            self.oval(look.hair, x, 130, 40 if self.side else 72, 108)
        if look.hairstyle == "tail" and view != "front":
            x = -self.facing * 74 if self.side else 0
            self.oval(dark(look.hair, 20), x, 120, 22, 74)

    def backpack(self) -> None:
        """A backpack: behind the shoulders, at the back, or covering it."""
        colour = self.look.bag_colour
        if self.side:
            x = -self.facing * (self.edge(300) + 42)
            self.oval(colour, x, 310, 62, 136)
            self.oval(dark(colour), x, 360, 40, 60)
        elif self.pose.view == "front":
            self.oval(colour, 0, 230, self.edge(200) + 18, 90)
        else:
            wide = 96 * self.broad // 100
            self.shape(colour, (-wide, 190), (wide, 190), (wide, 440), (-wide, 440))
            self.oval(colour, 0, 192, wide, 40)
            self.shape(
                dark(colour),
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
        self.shape(dark(colour), (shoulder - 12, 160), (shoulder + 12, 160), (hip + 12, 480), (hip - 12, 480))
        self.shape(colour, (hip - 74, 470), (hip + 74, 470), (hip + 66, 600), (hip - 66, 600))
        self.shape(dark(colour), (hip - 74, 470), (hip + 74, 470), (hip + 70, 515), (hip - 70, 515))

    def handbag(self) -> None:
        """A bag in the near hand."""
        colour, (x, y) = self.look.bag_colour, self.hand(1)
        self.shape(dark(colour), (x - 8, y), (x + 8, y), (x + 34, y + 60), (x - 34, y + 60))
        self.shape(colour, (x - 52, y + 50), (x + 52, y + 50), (x + 66, y + 160), (x - 66, y + 160))
