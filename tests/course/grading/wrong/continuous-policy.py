# %% a batch of components, worth 1/4
class GaussianPolicy(Agent):
    def __init__(self, state_dim, hidden_size, n_actions, name="policy"):
        super().__init__(name)
        self.model = build_ortho_mlp(
            [state_dim, *hidden_size, n_actions], activation=nn.Tanh(), output_gain=0.01
        )
        self.log_std = nn.Parameter(torch.zeros(n_actions))

    def dist(self, obs):
        """The distribution of the actions: batch shape [B], event shape [D]"""
        normal = Normal(self.model(obs), self.log_std.exp())
        return normal

    def forward(
        self,
        t,
        *,
        stochastic=True,
        predict_proba=False,
        compute_entropy=False,
        **kwargs,
    ):
        """
        Choose an action for row t of the workspace, or compute the log-probability
        of the action that is there (predict_proba)
        """
        dist = self.dist(self.get(("env/env_obs", t)))

        if predict_proba:
            action = self.get(("action", t))
            self.set((f"{self.prefix}logprob_predict", t), dist.log_prob(action))
        else:
            action = dist.sample() if stochastic else dist.mean.detach()
            self.set(("action", t), action)

        if compute_entropy:
            self.set((f"{self.prefix}entropy", t), dist.entropy())

# %% clipped in the workspace, worth 3/4
class GaussianPolicy(Agent):
    def __init__(self, state_dim, hidden_size, n_actions, name="policy"):
        super().__init__(name)
        self.model = build_ortho_mlp(
            [state_dim, *hidden_size, n_actions], activation=nn.Tanh(), output_gain=0.01
        )
        self.log_std = nn.Parameter(torch.zeros(n_actions))

    def dist(self, obs):
        """The distribution of the actions: batch shape [B], event shape [D]"""
        normal = Normal(self.model(obs), self.log_std.exp())
        return Independent(normal, 1)

    def forward(
        self,
        t,
        *,
        stochastic=True,
        predict_proba=False,
        compute_entropy=False,
        **kwargs,
    ):
        """
        Choose an action for row t of the workspace, or compute the log-probability
        of the action that is there (predict_proba)
        """
        dist = self.dist(self.get(("env/env_obs", t)))

        if predict_proba:
            action = self.get(("action", t))
            self.set((f"{self.prefix}logprob_predict", t), dist.log_prob(action))
        else:
            action = dist.sample().clamp(-2, 2) if stochastic else dist.mean.detach()
            self.set(("action", t), action)

        if compute_entropy:
            self.set((f"{self.prefix}entropy", t), dist.entropy())

# %% a new action when judging, worth 3/4
class GaussianPolicy(Agent):
    def __init__(self, state_dim, hidden_size, n_actions, name="policy"):
        super().__init__(name)
        self.model = build_ortho_mlp(
            [state_dim, *hidden_size, n_actions], activation=nn.Tanh(), output_gain=0.01
        )
        self.log_std = nn.Parameter(torch.zeros(n_actions))

    def dist(self, obs):
        """The distribution of the actions: batch shape [B], event shape [D]"""
        normal = Normal(self.model(obs), self.log_std.exp())
        return Independent(normal, 1)

    def forward(
        self,
        t,
        *,
        stochastic=True,
        predict_proba=False,
        compute_entropy=False,
        **kwargs,
    ):
        """
        Choose an action for row t of the workspace, or compute the log-probability
        of the action that is there (predict_proba)
        """
        dist = self.dist(self.get(("env/env_obs", t)))

        if predict_proba:
            action = dist.sample()
            self.set(("action", t), action)
            self.set((f"{self.prefix}logprob_predict", t), dist.log_prob(action))
        else:
            action = dist.sample() if stochastic else dist.mean.detach()
            self.set(("action", t), action)

        if compute_entropy:
            self.set((f"{self.prefix}entropy", t), dist.entropy())
