# %% break ends one epoch only
def minibatch_stream(collect, split, too_far, num_rollouts, epochs_per_rollout):
    for _ in range(num_rollouts):
        rollout = collect()
        for _ in range(epochs_per_rollout):
            for batch in split(rollout):
                if too_far(batch):
                    break
                yield batch


# %% all rollouts first
def minibatch_stream(collect, split, too_far, num_rollouts, epochs_per_rollout):
    rollouts = [collect() for _ in range(num_rollouts)]

    def epochs_over(rollout):
        for _ in range(epochs_per_rollout):
            for batch in split(rollout):
                if too_far(batch):
                    return
                yield batch

    for rollout in rollouts:
        yield from epochs_over(rollout)
