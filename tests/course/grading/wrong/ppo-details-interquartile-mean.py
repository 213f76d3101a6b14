# %% not sorted
def interquartile_mean(scores):
    quarter = len(scores) // 4
    return scores[quarter : len(scores) - quarter].mean()


# %% median
def interquartile_mean(scores):
    return np.median(scores)
