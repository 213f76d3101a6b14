# %% plain estimate
def should_stop(log_prob, old_log_prob, target_kl):
    kl = (old_log_prob - log_prob).detach().mean().item()
    return target_kl is not None and kl > 1.5 * target_kl, kl


# %% target itself, worth 1/2
def should_stop(log_prob, old_log_prob, target_kl):
    log_ratio = (log_prob - old_log_prob).detach()
    kl = (torch.exp(log_ratio) - 1 - log_ratio).mean().item()
    return target_kl is not None and kl > target_kl, kl
