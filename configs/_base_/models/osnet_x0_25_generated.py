# OSNet-x0.25 from random weights for the 32 people of the generated set. The triplet loss counts a fifth: in a few
# hundred steps from random weights its full weight drowns the identity loss.
_base_ = ["osnet_x0_25.py"]
task = dict(num_classes=32, height=96, width=48, triplet_weight=0.2)
