# Friendly adversarial training of WRN-34-10 on CIFAR-10 (Zhang et al. 2020) within twice the eps that it is judged at.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_fat.py
# Cost: at most 11 forwards and 11 backwards per image and step.
# Paper's number (Table 1, row "SAT"): clean 87.97, PGD-20 49.86, C&W 48.65, AA 47.48.
# That row repeats the PGD-20 and C&W that FAT's README prints for eps 16/255 (0.062) and a WRN-32-10, hence the eps.
_base_ = ["r18_cifar10_fat.py"]
task = dict(model="wrn_34_10")
method = dict(attack=dict(threat=dict(eps=0.062)))
