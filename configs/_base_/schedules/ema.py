# An average of the weights (Izmailov et al. 2018, as an exponential one), which is what is judged, chosen and saved.
ema = dict(decay=0.995, warmup=0.025)
