# %% the reward in the last row, worth 1/2
def token_rewards(reward, log_prob, ref_log_prob, written, beta):
    rewards = -beta * (log_prob - ref_log_prob) * written
    rewards[-1] += reward
    return rewards
