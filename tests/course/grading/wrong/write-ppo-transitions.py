# %% the target is the advantage, worth 1/2
def transitions(workspace, critic, cfg):
    obs, reward, terminated, done, action, log_prob = workspace[
        "env/env_obs", "env/reward", "env/terminated", "env/done", "action", "log_prob"
    ]
    with torch.no_grad():
        value = critic(obs)
    numbers = cfg.algorithm.discount_factor, cfg.algorithm.gae
    ends = terminated[1:], done[1:]
    advantage = advantages(reward[1:], value[:-1], value[1:], *ends, *numbers)
    starts = ~done[:-1]
    return {
        "obs": obs[:-1][starts],
        "action": action[:-1][starts],
        "log_prob": log_prob[:-1][starts],
        "advantage": advantage[starts],
        "target": advantage[starts],
    }


def minibatches(n, batch_size):
    return torch.randperm(n).split(batch_size)
