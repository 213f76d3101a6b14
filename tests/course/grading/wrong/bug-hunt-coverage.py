# %% repetitions
def coverage(minibatches, n_transitions):
    return sum(len(minibatch) for minibatch in minibatches) / n_transitions


# %% of the drawn
def coverage(minibatches, n_transitions):
    drawn = torch.cat(minibatches)
    return len(drawn.unique()) / len(drawn)


# %% per minibatch
def coverage(minibatches, n_transitions):
    return sum(len(minibatch.unique()) for minibatch in minibatches) / n_transitions
