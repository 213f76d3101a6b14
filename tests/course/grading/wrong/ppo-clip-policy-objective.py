# %% sign
def policy_objective(policy, workspace, cfg):
    policy(workspace, t=0, predict_proba=True, compute_entropy=True)
    new, old, advantage, entropy = workspace[
        f"{policy.prefix}logprob_predict",
        "old_policy/logprob_predict",
        "advantage",
        f"{policy.prefix}entropy",
    ]
    ratio = torch.exp(new - old.detach())
    eps = cfg.algorithm.clip_range
    clipped = torch.clamp(ratio, 1 - eps, 1 + eps)
    loss = torch.min(ratio * advantage.detach(), clipped * advantage.detach()).mean()
    return -loss, entropy, advantage

# %% nothing is clipped
def policy_objective(policy, workspace, cfg):
    policy(workspace, t=0, predict_proba=True, compute_entropy=True)
    new = workspace[f"{policy.prefix}logprob_predict"]
    old = workspace["old_policy/logprob_predict"].detach()
    advantage = workspace["advantage"]
    loss = (torch.exp(new - old) * advantage.detach()).mean()
    return loss, workspace[f"{policy.prefix}entropy"], advantage

# %% clip range by heart
def policy_objective(policy, workspace, cfg):
    policy(workspace, t=0, predict_proba=True, compute_entropy=True)
    new = workspace[f"{policy.prefix}logprob_predict"]
    old = workspace["old_policy/logprob_predict"].detach()
    advantage = workspace["advantage"]
    ratio = torch.exp(new - old)
    products = ratio * advantage.detach(), ratio.clamp(0.8, 1.2) * advantage.detach()
    return torch.min(*products).mean(), workspace[f"{policy.prefix}entropy"], advantage
