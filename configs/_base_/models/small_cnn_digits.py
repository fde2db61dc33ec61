# Three convolutions for the digits (one channel, 10 classes).
task = dict(type="ClassificationTask", model="small_cnn", num_classes=10, model_args=dict(in_chans=1, width=16))
