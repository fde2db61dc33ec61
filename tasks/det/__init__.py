"""Object detection with mmdet models; importing it makes mmdet usable on plain wheels (see ``tasks.det.compat``)."""

from tasks.det import compat

compat.install()
