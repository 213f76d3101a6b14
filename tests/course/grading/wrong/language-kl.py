# %% the ratio of k3 is upside down, worth 1/2
def kl_estimates(log_prob, ref_log_prob):
    log_ratio = log_prob - ref_log_prob
    return log_ratio, log_ratio.exp() - 1 - log_ratio
