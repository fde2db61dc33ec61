# scikit-learn's digits on textured ground in Pascal VOC's layout, made on the spot: 400 images to train, 100 to test.
data = dict(
    train=dict(type="GeneratedVOC", root="data/generated_voc", split="trainval"),
    test=dict(type="GeneratedVOC", root="data/generated_voc", split="test"),
    heldout=0,
    batch_size=16,
    augments=[dict(type="BoxZoom", out=1.5, inside=0.6)],
)
threat = dict(type="Linf", eps=8 / 255)
