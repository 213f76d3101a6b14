# %% mean
def ratio_error(log_prob, old_log_prob):
    return ((log_prob - old_log_prob).exp() - 1).abs().mean().item()


# %% one side
def ratio_error(log_prob, old_log_prob):
    return ((log_prob - old_log_prob).exp() - 1).max().item()


# %% logarithms
def ratio_error(log_prob, old_log_prob):
    return (log_prob - old_log_prob).abs().max().item()
