# %% the reset is still a transition, worth 1/2
def critic_targets(workspace, discount_factor, gae_lambda):
    observation, reward, value, terminated, done = workspace[
        "env/env_obs", "env/reward", "critic/v_values", "env/terminated", "env/done"
    ]
    advantage = gae(
        reward=reward[1:],
        value=value[:-1],
        next_value=value[1:],
        terminated=terminated[1:],
        done=done[1:],
        discount_factor=discount_factor,
        gae_lambda=gae_lambda,
    )
    target = lambda_returns(advantage=advantage, value=value[:-1])
    return observation[:-1].flatten(), target.flatten()


# %% the last transition is thrown away, worth 1/2
def critic_targets(workspace, discount_factor, gae_lambda):
    observation, reward, value, terminated, done = workspace[
        "env/env_obs", "env/reward", "critic/v_values", "env/terminated", "env/done"
    ]
    advantage = gae(
        reward=reward[1:],
        value=value[:-1],
        next_value=value[1:],
        terminated=terminated[1:],
        done=done[1:],
        discount_factor=discount_factor,
        gae_lambda=gae_lambda,
    )
    target = lambda_returns(advantage=advantage, value=value[:-1])
    kept = ~done[1:]
    return observation[:-1][kept], target[kept]
