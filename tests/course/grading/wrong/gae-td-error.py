# %% truncated as terminated
def td_error(workspace, discount_factor):
    reward, done, value = workspace["env/reward", "env/done", "critic/v_values"]
    next_value = value[1:].masked_fill(done[1:], 0)
    return reward[1:] + discount_factor * next_value - value[:-1]


# %% reward of the row before
def td_error(workspace, discount_factor):
    reward, terminated, value = workspace["env/reward", "env/terminated", "critic/v_values"]
    next_value = value[1:].masked_fill(terminated[1:], 0)
    return reward[:-1] + discount_factor * next_value - value[:-1]
