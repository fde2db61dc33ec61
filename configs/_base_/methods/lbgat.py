# LBGAT0 (Cui et al. 2021): the logits on adversarial images follow those of a natural ResNet-18 that learns the clean
# images alongside; attacked as TRADES does.
_base_ = ["trades.py"]
method = dict(
    terms=[
        dict(
            type="LBGAT",
            natural=dict(type="ClassificationTask", model="resnet18_cifar", num_classes=10, channels_last=True),
        )
    ],
)
