# %% both ends, whatever the advantage
def is_clipped(ratio, advantage, clip_range):
    return (ratio - 1).abs() > clip_range

# %% inverted
def is_clipped(ratio, advantage, clip_range):
    good = (advantage > 0) & (ratio > 1 + clip_range)
    bad = (advantage < 0) & (ratio < 1 - clip_range)
    return ~(good | bad)
