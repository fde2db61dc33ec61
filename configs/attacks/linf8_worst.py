# The worst case over the columns of the paper's Tables 1 and 2 at Linf 8/255, and nothing else: the attacks of
# linf8_table.py, cheapest first, each on the images that those before it left right.
# Command: python tools/test.py CONFIG CHECKPOINT --attacks configs/attacks/linf8_worst.py
# Cost: at most that of linf8_table.py; AutoAttack, nearly all of it, is spared the images that PGD or C&W breaks.
# Paper's number: none. Nearest is the column AA (Table 2, NAT of ResNet-18 on CIFAR-10: 50.18), which a worst case
# cannot exceed by more than the chance of AutoAttack's seeds.
_base_ = ["linf8_table.py"]
pool = True
