# Drawn pedestrians in Market-1501's layout, made on the spot: 32 people for training, 32 others for testing, 4 cameras;
# read at 96 x 48 to fit a CPU.
data = dict(
    train=dict(type="GeneratedReID", root="data/generated_reid", train=True, height=96, width=48),
    test=dict(type="GeneratedReID", root="data/generated_reid", train=False, height=96, width=48),
    heldout=0,
    batch_size=32,
    sampler=dict(type="IdentitySampler", instances=4),
    augments=[dict(type="RandomFlip"), dict(type="RandomCrop", padding=4)],
)
threat = dict(type="Linf", eps=8 / 255)
