# ViT-S/16 for the 100 classes of ImageNet-100, from ImageNet weights of timm's hub; without a network:
# task.pretrained=False task.checkpoint=path/to/model.safetensors.
task = dict(
    type="ClassificationTask",
    model="vit_small_patch16_224",
    num_classes=100,
    pretrained=True,
    checkpoint=None,
)
