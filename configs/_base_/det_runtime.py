# Shared by all detection configs: the task's classes and the metric.
_base_ = ["default_runtime.py"]
custom_imports = dict(imports=["tasks.det"])
metric = dict(type="DetectionMAP")
