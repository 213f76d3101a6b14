# %% one component's constant
def gaussian_entropy(mean, log_std):
    return (log_std.sum() + 0.5 * math.log(2 * math.pi * math.e)).expand(len(mean))

# %% without e
def gaussian_entropy(mean, log_std):
    return (log_std + 0.5 * math.log(2 * math.pi)).sum().expand(len(mean))
