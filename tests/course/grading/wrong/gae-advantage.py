# %% one mask for both
def gae_by_hand(reward, value, next_value, terminated, done, discount_factor, gae_lambda):
    delta = reward + discount_factor * next_value * ~done - value
    advantage = torch.zeros_like(delta)
    following = torch.zeros_like(delta[0])
    for t in reversed(range(len(delta))):
        following = delta[t] + discount_factor * gae_lambda * ~done[t] * following
        advantage[t] = following
    return advantage


# %% trace of λ alone
def gae_by_hand(reward, value, next_value, terminated, done, discount_factor, gae_lambda):
    delta = reward + discount_factor * next_value * ~terminated - value
    advantage = torch.zeros_like(delta)
    following = torch.zeros_like(delta[0])
    for t in reversed(range(len(delta))):
        following = delta[t] + gae_lambda * ~done[t] * following
        advantage[t] = following
    return advantage
