# Shared by all training configs: task registration, the seed and what is logged.
custom_imports = dict(imports=["tasks.cls"], allow_failed_imports=False)
seed = 0
vis_backends = [dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")]
