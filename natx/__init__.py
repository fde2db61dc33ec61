"""natx: nasty adversarial training for any vision task, and an honest judge of the result.

The core of the package imports torch, numpy and mmengine; task libraries (timm, torchvision, ...) are imported only by
the adapters under ``tasks``.
"""

__version__ = "0.3.0"
