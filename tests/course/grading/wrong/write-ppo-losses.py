# %% the objective is minimised, worth 1/2
def losses(policy, critic, batch, cfg):
    a = batch["advantage"]
    a = (a - a.mean()) / (a.std() + 1e-8)
    log_prob, entropy = policy.evaluate(batch["obs"], batch["action"])
    r, eps = (log_prob - batch["log_prob"]).exp(), cfg.algorithm.clip_range
    objective = torch.min(r * a, r.clamp(1 - eps, 1 + eps) * a).mean()
    value_loss = (critic(batch["obs"]) - batch["target"]).square().mean()
    return objective - cfg.algorithm.entropy_coef * entropy.mean(), value_loss
