# ATAS (Huang et al. 2023): each image keeps its perturbation, and takes smaller steps the larger its gradient.
method = dict(type="ATAS", threat=dict(type="Linf", eps=8 / 255), c=0.01, beta=0.5, warmup=5, reset=10)
