# %% clipped before it is kept, worth 1/2
def sample_action(mean, log_std, noise, low, high):
    action = torch.clamp(mean + log_std.exp() * noise, low, high)
    return action, action

# %% variance
def sample_action(mean, log_std, noise, low, high):
    action = mean + (2 * log_std).exp() * noise
    return action, torch.clamp(action, low, high)
