# %% the reward in the last row
def token_rewards(reward, log_prob, ref_log_prob, written, beta):
    rewards = -beta * (log_prob - ref_log_prob) * written
    rewards[-1] += reward
    return rewards
