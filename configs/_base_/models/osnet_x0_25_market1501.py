# OSNet-x0.25 from ImageNet weights for Market-1501: the version for CPUs.
_base_ = ["osnet_x0_25.py"]
task = dict(num_classes=751, height=256, width=128, pretrained=True)
