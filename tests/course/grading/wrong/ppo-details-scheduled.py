# %% one update ahead
def scheduled(initial, update, n_updates):
    return initial * (1 - (update + 1) / n_updates)


# %% grows
def scheduled(initial, update, n_updates):
    return initial * update / n_updates
