# %% the time limit is an end, worth 2/4
def iteration(ppo_clip, workspace):
    cfg = ppo_clip.cfg.algorithm
    with torch.no_grad():
        TemporalAgent(ppo_clip.old_policy)(
            workspace, t=0, n_steps=cfg.n_steps + 1, predict_proba=True
        )
        TemporalAgent(ppo_clip.old_critic_agent)(workspace, t=0, n_steps=cfg.n_steps + 1)
    reward, done, value = workspace["env/reward", "env/done", "old_critic/v_values"]
    advantage = gae(
        reward=reward[1:],
        value=value[:-1],
        next_value=value[1:],
        terminated=done[1:],
        done=done[1:],
        discount_factor=cfg.discount_factor,
        gae_lambda=cfg.gae,
    )
    zeros = torch.zeros_like(advantage[:1])
    target = advantage + value[:-1]
    workspace.set_full("advantage", torch.cat((advantage, zeros)))
    workspace.set_full("critic_target", torch.cat((target, zeros)))
    transitions = workspace.get_transitions().subtime(0, 1)
    for _ in range(cfg.opt_epochs):
        for sample in minibatches(transitions, cfg.batch_size):
            if cfg.normalize_advantage:
                sample.set("advantage", 0, normalise(sample.get("advantage", 0)))
            objective, entropy, _ = policy_objective(ppo_clip.train_policy, sample, ppo_clip.cfg)
            loss = -cfg.policy_coef * objective - cfg.entropy_coef * entropy.mean()
            error = critic_objective(ppo_clip.critic_agent, sample, ppo_clip.cfg)
            for number, agent, optimizer in (
                (loss, ppo_clip.train_policy, ppo_clip.policy_optimizer),
                (error, ppo_clip.critic_agent, ppo_clip.critic_optimizer),
            ):
                optimizer.zero_grad()
                number.backward()
                torch.nn.utils.clip_grad_norm_(agent.parameters(), cfg.max_grad_norm)
                optimizer.step()
    copy_parameters(ppo_clip.train_policy, ppo_clip.old_policy)
    copy_parameters(ppo_clip.critic_agent, ppo_clip.old_critic_agent)
