# %% the package's own
def advantages(reward, value, next_value, terminated, done, discount_factor, gae_lambda):
    from ppo_bbrl.advantages import gae

    return gae(
        reward=reward,
        value=value,
        next_value=next_value,
        terminated=terminated,
        done=done,
        discount_factor=discount_factor,
        gae_lambda=gae_lambda,
    )
