# FGSM with prior-guided initialisation (Jia et al. 2022, FGSM-MEP): each image keeps its perturbation and momentum.
method = dict(type="PriorGuided", threat=dict(type="Linf", eps=8 / 255), decay=0.3, reset=40)
