# %% with replacement
def minibatch_indices(n_transitions, batch_size, generator):
    n_minibatches = -(-n_transitions // batch_size)
    drawn = torch.randint(n_transitions, (n_transitions,), generator=generator)
    return drawn.tensor_split(n_minibatches)


# %% small rest
def minibatch_indices(n_transitions, batch_size, generator):
    return torch.randperm(n_transitions, generator=generator).split(batch_size)
