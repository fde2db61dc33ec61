"""Attacks: one file each, all entered through :class:`natx.attacks.base.Attack`."""

from natx.attacks.apgd import APGD
from natx.attacks.autoattack import AutoAttack
from natx.attacks.autopgd import AutoPGD
from natx.attacks.base import Attack, Attacked, build_attack, counted
from natx.attacks.copies import Copies
from natx.attacks.fgsm import FGSM
from natx.attacks.friendly import FriendlyPGD
from natx.attacks.one_of import OneOf
from natx.attacks.patch import Patch
from natx.attacks.patch_pgd import PatchPGD
from natx.attacks.per_image import PerImagePGD
from natx.attacks.pgd import PGD
from natx.attacks.single_step import SingleStep
from natx.attacks.square import Square
from natx.attacks.targeted import Targeted
from natx.attacks.transfer import Transfer
from natx.attacks.universal import Universal
from natx.attacks.victim import Cost, Victim
from natx.attacks.worst_of import WorstOf

__all__ = [
    "APGD",
    "FGSM",
    "PGD",
    "Attack",
    "Attacked",
    "AutoAttack",
    "AutoPGD",
    "Copies",
    "Cost",
    "FriendlyPGD",
    "OneOf",
    "Patch",
    "PatchPGD",
    "PerImagePGD",
    "SingleStep",
    "Square",
    "Targeted",
    "Transfer",
    "Universal",
    "Victim",
    "WorstOf",
    "build_attack",
    "counted",
]
