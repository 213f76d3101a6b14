# %% normalised before the target, worth 1/2
def learn_ppo(algo, workspace, reward):
    cfg = algo.cfg
    obs, action, old, done = workspace["env/env_obs", "action", "log_prob", "env/done"]
    written = ~done
    with torch.no_grad():
        reference = algo.reference.evaluate(obs, action)
        value = algo.critic(obs)
    rewards = token_rewards(reward, old, reference, written, cfg.beta)
    advantage = token_advantages(rewards, value, written, cfg.gae)
    advantage = (advantage - advantage[written].mean()) / (advantage[written].std() + 1e-8)
    target = advantage + value
    for _ in range(cfg.epochs):
        loss = text_loss(
            algo.writer.evaluate(obs, action), old, advantage, written, cfg.clip_range
        )
        algo.writer_optimizer.zero_grad()
        loss.backward()
        algo.writer_optimizer.step()
        value_loss = (algo.critic(obs) - target)[written].square().mean()
        algo.critic_optimizer.zero_grad()
        value_loss.backward()
        algo.critic_optimizer.step()
