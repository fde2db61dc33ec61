# GradAlign (Andriushchenko & Flammarion 2020) around FGSM-RS: gradients at an image and near it are asked to agree.
_base_ = ["fgsm_rs.py"]
method = dict(_delete_=True, type="GradAlign", weight=0.2, method=_base_.method)
