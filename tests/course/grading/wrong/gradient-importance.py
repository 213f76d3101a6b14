# %% the self-normalised estimate, worth 1/2
def importance(log_prob, old_log_prob, reward):
    weight = (log_prob - old_log_prob).exp()
    return (weight * reward).sum() / weight.sum(), weight.sum() ** 2 / weight.square().sum()
