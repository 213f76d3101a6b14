# %% the clipped product without the minimum
def clipping_gap(ratio, advantage, clip_range):
    return ratio * advantage - ratio.clamp(1 - clip_range, 1 + clip_range) * advantage
