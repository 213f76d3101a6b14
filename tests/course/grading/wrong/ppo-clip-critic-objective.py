# %% the clipped error alone, worth 1/2
def critic_objective(critic, workspace, cfg):
    critic(workspace, t=0)
    value, old, target = workspace["critic/v_values", "old_critic/v_values", "critic_target"]
    if cfg.algorithm.clip_range_vf > 0:
        eps = cfg.algorithm.clip_range_vf
        value = old + torch.clamp(value - old, -eps, eps)
    return cfg.algorithm.critic_coef * ((value - target) ** 2).mean()
