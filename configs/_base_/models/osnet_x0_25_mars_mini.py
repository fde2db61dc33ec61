# OSNet-x0.25 from random weights for the 16 training identities of the part of MARS.
_base_ = ["osnet_x0_25.py"]
task = dict(num_classes=16, height=128, width=64)
