# %% all texts are a group
def group_advantages(reward, group_size):
    return (reward - reward.mean()) / (reward.std() + 1e-6)
