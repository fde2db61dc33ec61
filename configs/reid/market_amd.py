# AMD on Market-1501, ResNet-50: market_amd_online.py, the AMD that withstands an attack on the model itself (offline
# AMD, market_amd_offline.py, does not: docs/reid.md).
# Command: python tools/train.py configs/reid/market_amd.py
# Cost: 10 forwards and 9 backwards per image and step. Paper's number: 69.69/88.24 clean, 8.57/18.14 under FNA 8/255
# (mAP/Rank-1, Table 12, AMD).
_base_ = ["market_amd_online.py"]
paper_row = "AMD"
