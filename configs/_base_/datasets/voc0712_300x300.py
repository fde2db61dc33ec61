# Pascal VOC for SSD300: images become 300 x 300. Those to learn from are read at twice that and resized last, so that
# parts that are enlarged keep the detail of the files.
_base_ = ["voc0712.py"]
data = dict(
    train=dict(size=(600, 600)),
    test=dict(size=(300, 300)),
    batch_size=32,
    augments=[
        dict(type="ColourDistortion"),
        dict(type="BoxZoom", out=4.0, inside=1.0),
        dict(type="BoxCrop"),
        dict(type="BoxFlip"),
        dict(type="BoxResize", size=(300, 300)),
    ],
)
