# %% the gain is ignored
def line_search(try_step, max_kl):
    size = 1.0
    for _ in range(10):
        if try_step(size)[1] <= max_kl:
            return size
        size = size / 2
    return 0.0
