# OSNet-x0.25 (0.2 M parameters without the head); the files named after data sets add identities and sizes of images.
task = dict(type="ReIDTask", model="osnet_x0_25", channels_last=True)
