# Pascal VOC for RetinaNet and Faster R-CNN: the shorter side at 600 pixels and proportions kept.
_base_ = ["voc0712.py"]
data = dict(
    train=dict(short=600, long=1000),
    test=dict(short=600, long=1000),
    batch_size=16,
    augments=[dict(type="BoxFlip")],
)
