# %% no divergence, worth 1/2
def learn_grpo(algo, workspace, reward):
    cfg = algo.cfg
    obs, action, old, done = workspace["env/env_obs", "action", "log_prob", "env/done"]
    advantage = group_advantages(reward, cfg.group_size).expand_as(old)
    for _ in range(cfg.epochs):
        log_prob = algo.writer.evaluate(obs, action)
        loss = text_loss(log_prob, old, advantage, ~done, cfg.clip_range)
        algo.writer_optimizer.zero_grad()
        loss.backward()
        algo.writer_optimizer.step()
