# Shared by all person re-identification configs: the task's classes, the metric, random batches of 16 x 4 images.
_base_ = ["default_runtime.py"]
custom_imports = dict(imports=["tasks.reid"])
metric = dict(type="Retrieval")
