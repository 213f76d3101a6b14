# %% the next episode leaks in
def lambda_return(reward, next_value, terminated, done, discount_factor, gae_lambda):
    returns = torch.zeros_like(reward)
    following = next_value[-1]
    for t in reversed(range(len(reward))):
        bracket = (1 - gae_lambda) * next_value[t] + gae_lambda * following
        following = reward[t] + discount_factor * bracket.masked_fill(terminated[t], 0)
        returns[t] = following
    return returns


# %% weights exchanged
def lambda_return(reward, next_value, terminated, done, discount_factor, gae_lambda):
    returns = torch.zeros_like(reward)
    following = next_value[-1]
    for t in reversed(range(len(reward))):
        following = torch.where(done[t], next_value[t], following)
        bracket = gae_lambda * next_value[t] + (1 - gae_lambda) * following
        following = reward[t] + discount_factor * bracket.masked_fill(terminated[t], 0)
        returns[t] = following
    return returns
