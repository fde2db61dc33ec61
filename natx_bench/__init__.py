"""The items of `natx bench`, one file a theme.

    attacks.py   PGD against bare loops and other libraries
    training.py  steps of classification methods
    compiled.py  steps through torch.compile
    overhead.py  a step beside a bare loop
    methods.py   a step of every method beside what counting predicts
    columns.py   judging: the columns of a table
    whole_row.py judging: AutoAttack's column, and the worst case over all columns
    memory.py    peak memory of attacks
    allocator.py memory that the C library keeps
    reid.py      person re-identification
    epochs.py    seconds an epoch on a GPU
    recipes.py   hours of the fast recipes
    det.py       object detection: MTD and NAT
    det_judging.py  object detection: padding, memory and time of judging
    speed.py     minutes of training against AutoAttack: results/speed.md

What they share: common.py (what the command line sets, the registry, two training steps compared), cifar.py (networks,
images and steps of the classification items) and fresh.py (peak memory in a fresh process). device_checks.py is what
tools/gpu_check.py looks at.

To add an item, write a function with ``@item(...)`` into the file of its theme; a new file goes into THEMES as well.
"""

from importlib import import_module

from natx_bench.common import ITEMS, Bench
from natx_bench.fresh import WORKS, peak_memory

# The order of registration is that of the report.
THEMES = (
    "attacks",
    "training",
    "compiled",
    "overhead",
    "methods",
    "columns",
    "whole_row",
    "memory",
    "allocator",
    "reid",
    "epochs",
    "recipes",
    "det",
    "det_judging",
    "speed",
)
for theme in THEMES:
    import_module(f"natx_bench.{theme}")

__all__ = ["ITEMS", "THEMES", "WORKS", "Bench", "peak_memory"]
