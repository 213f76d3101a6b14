# %% a mean over the components
def gaussian_log_prob(action, mean, log_std):
    error = (action - mean) / log_std.exp()
    return (-0.5 * error**2 - log_std - 0.5 * math.log(2 * math.pi)).mean(-1)

# %% the constant once
def gaussian_log_prob(action, mean, log_std):
    error = (action - mean) / log_std.exp()
    return (-0.5 * error**2 - log_std).sum(-1) - 0.5 * math.log(2 * math.pi)
