# %% sign
def difference_interval(first, second, statistic, level, rng, n_resamples=1000):
    differences = [
        statistic(rng.choice(second, len(second))) - statistic(rng.choice(first, len(first)))
        for _ in range(n_resamples)
    ]
    tail = 100 * (1 - level) / 2
    return tuple(np.percentile(differences, [tail, 100 - tail]))


# %% one resampled
def difference_interval(first, second, statistic, level, rng, n_resamples=1000):
    differences = [
        statistic(rng.choice(first, len(first))) - statistic(second) for _ in range(n_resamples)
    ]
    tail = 100 * (1 - level) / 2
    return tuple(np.percentile(differences, [tail, 100 - tail]))
