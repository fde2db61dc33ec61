# scikit-learn's digits on textured ground, 112 x 112 pixels with one or two digits of 32 to 72: 600 images to train,
# 200 to test, made on the spot.
_scenes = dict(
    type="GeneratedVOC",
    root="data/generated_voc112",
    canvas=(112, 112),
    sides=(32, 72),
    objects=(1, 2),
    images=600,
    test_images=200,
)
data = dict(
    train=dict(split="trainval", **_scenes),
    test=dict(split="test", **_scenes),
    heldout=0,
    batch_size=16,
    augments=[dict(type="BoxZoom", out=1.5, inside=0.6)],
)
threat = dict(type="Linf", eps=8 / 255)
