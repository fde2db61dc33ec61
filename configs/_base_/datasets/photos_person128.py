# The people on the few photographs of photos_voc.py, at 128 x 128: the only class with hundreds of objects.
_base_ = ["photos_voc.py"]
data = dict(
    train=dict(classes=["person"], size=(224, 224)),
    test=dict(classes=["person"], size=(128, 128)),
    batch_size=8,
    augments=[dict(type="BoxZoom", out=1.5, inside=0.4), dict(type="BoxFlip"), dict(type="BoxResize", size=(128, 128))],
)
