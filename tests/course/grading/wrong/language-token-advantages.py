# %% the value of padding
def token_advantages(reward, value, written, gae_lambda):
    advantage = torch.zeros_like(reward)
    next_value = following = torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        following = (reward[t] + next_value - value[t] + gae_lambda * following) * written[t]
        next_value = value[t]
        advantage[t] = following
    return advantage
