# Pascal VOC for SSD300: images become 300 x 300.
_base_ = ["voc0712.py"]
data = dict(
    train=dict(size=(300, 300)),
    test=dict(size=(300, 300)),
    batch_size=32,
    augments=[
        dict(type="ColourDistortion"),
        dict(type="BoxZoom", out=4.0, inside=1.0),
        dict(type="BoxCrop"),
        dict(type="BoxFlip"),
    ],
)
