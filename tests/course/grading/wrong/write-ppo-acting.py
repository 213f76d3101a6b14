# %% the log-probability carries a gradient, worth 2/3
class Policy(Agent):
    def __init__(self, n_obs, n_actions):
        super().__init__("policy")
        self.model = network([n_obs, 64, 64, n_actions], 0.01)

    def evaluate(self, obs, action):
        dist = torch.distributions.Categorical(logits=self.model(obs))
        return dist.log_prob(action), dist.entropy()

    def forward(self, t, *, stochastic=True, **kwargs):
        obs = self.get(("env/env_obs", t))
        scores = self.model(obs)
        drawn = torch.distributions.Categorical(logits=scores).sample()
        action = drawn if stochastic else scores.argmax(-1)
        self.set(("action", t), action)
        self.set(("log_prob", t), self.evaluate(obs, action)[0])


class Critic(nn.Module):
    def __init__(self, n_obs):
        super().__init__()
        self.model = network([n_obs, 64, 64, 1], 1.0)

    def forward(self, obs):
        return self.model(obs).squeeze(-1)
