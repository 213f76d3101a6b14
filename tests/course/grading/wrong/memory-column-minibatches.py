# %% batch_size environments
def column_minibatches(rows, order, batch_size):
    return [rows[:, index] for index in order.split(batch_size)]

# %% the rest is dropped
def column_minibatches(rows, order, batch_size):
    size = max(1, batch_size // len(rows))
    return [rows[:, index] for index in order.split(size) if len(index) == size]
