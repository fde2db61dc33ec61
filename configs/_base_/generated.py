# Drawn pedestrians in Market-1501's layout, made on the spot: 32 people for training, 32 others for testing, 4 cameras.
data = dict(
    train=dict(type="GeneratedReID", root="data/generated_reid", train=True),
    test=dict(type="GeneratedReID", root="data/generated_reid", train=False),
    heldout=0,
    batch_size=64,
    sampler=dict(type="IdentitySampler", instances=4),
    augments=[dict(type="RandomFlip"), dict(type="RandomCrop", padding=5), dict(type="RandomErasing")],
)
threat = dict(type="Linf", eps=8 / 255)
task = dict(type="ReIDTask", model="osnet_x0_25", num_classes=32, height=128, width=64, channels_last=True)
