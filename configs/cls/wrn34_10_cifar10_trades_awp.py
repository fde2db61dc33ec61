# TRADES-AWP of WRN-34-10 on CIFAR-10 (Wu et al. 2020), the original's own setting; see r18_cifar10_trades_awp.py.
# Command: python tools/train.py configs/cls/wrn34_10_cifar10_trades_awp.py
# Cost: 15 forwards and 14 backwards per image and step.
# Paper's number (Table 3, quoted from RobustBench): clean 85.36, AA 56.17.
_base_ = ["r18_cifar10_trades_awp.py"]
task = dict(model="wrn_34_10")
