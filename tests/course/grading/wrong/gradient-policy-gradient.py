# %% no baseline
def policy_gradient(logits, action, reward, baseline):
    return (reward.unsqueeze(-1) * score(logits, action)).mean(0)
