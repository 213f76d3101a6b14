# %% reset in the same row
def predict_rows(actions, height, time_limit):
    level, timestep = 0, 0
    rows = [(0, 0.0, False, False, 0)]
    for action in actions[:-1]:
        level, timestep = level + action, timestep + 1
        reward = float(level * action)
        terminated, truncated = level == height, timestep == time_limit
        if terminated or truncated:
            level = timestep = 0
        rows.append((level, reward, terminated, truncated, timestep))
    return rows


# %% never truncated
def predict_rows(actions, height, time_limit):
    level, reward, terminated, truncated, timestep = 0, 0.0, False, False, 0
    rows = []
    for t in range(len(actions)):
        if t > 0:
            if terminated:
                level, reward, terminated, timestep = 0, 0.0, False, 0
            else:
                level += actions[t - 1]
                reward = float(level) if actions[t - 1] == 1 else 0.0
                timestep += 1
                terminated = level == height
        rows.append((level, reward, terminated, truncated, timestep))
    return rows
