# %% old gradients stay, and nothing is greedy
class PPO(EpisodicAlgo):
    def __init__(self, cfg):
        super().__init__(cfg, autoreset=True)
        sizes = self.train_env.get_obs_and_actions_sizes()
        self.train_policy, self.critic = Policy(*sizes), Critic(sizes[0])
        self.policy_optimizer = setup_optimizer(self.cfg.optimizer, self.train_policy)
        self.critic_optimizer = setup_optimizer(self.cfg.optimizer, self.critic)


def learn(algo, workspace):
    cfg = algo.cfg.algorithm
    batch = transitions(workspace, algo.critic, algo.cfg)
    for _ in range(cfg.opt_epochs):
        for index in minibatches(len(batch["obs"]), cfg.batch_size):
            part = {name: tensor[index] for name, tensor in batch.items()}
            sum(losses(algo.train_policy, algo.critic, part, algo.cfg)).backward()
            for network_ in (algo.train_policy, algo.critic):
                nn.utils.clip_grad_norm_(network_.parameters(), cfg.max_grad_norm)
            algo.policy_optimizer.step()
            algo.critic_optimizer.step()
    return diagnostics(algo.train_policy, algo.critic, batch, algo.cfg)
