# %% one row too few
def run(algo):
    for workspace in iter_partial_episodes(algo, algo.cfg.algorithm.n_steps):
        for name, number in learn(algo, workspace).items():
            algo.logger.add_log(name, number, algo.nb_steps)
        algo.evaluate()
