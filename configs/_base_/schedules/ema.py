# An average of the weights (Izmailov et al. 2018, as an exponential one), for any method and task. The weights and
# their average are both judged, and the better is kept as the best. As an option: --cfg-options ema.decay=0.995
ema = dict(decay=0.995, warmup=0.025)
