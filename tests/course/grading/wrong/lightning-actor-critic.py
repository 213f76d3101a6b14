# %% column of values, worth 1/2
class ActorCritic(PPO):
    def __init__(self, lr=1e-3, **kwargs):
        super().__init__(**kwargs)
        self.lr = lr
        n_inputs, n_actions = self.observation_space.shape[0], int(self.action_space.n)
        self.actor = nn.Sequential(nn.Linear(n_inputs, 64), nn.Tanh(), nn.Linear(64, n_actions))
        self.critic = nn.Sequential(nn.Linear(n_inputs, 64), nn.Tanh(), nn.Linear(64, 1))

    def forward(self, x):
        return Categorical(logits=self.actor(x)), self.critic(x)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


# %% critic never learns, worth 1/2
class ActorCritic(PPO):
    def __init__(self, lr=1e-3, **kwargs):
        super().__init__(**kwargs)
        self.lr = lr
        n_inputs, n_actions = self.observation_space.shape[0], int(self.action_space.n)
        self.actor = nn.Sequential(nn.Linear(n_inputs, 64), nn.Tanh(), nn.Linear(64, n_actions))
        self.critic = nn.Sequential(nn.Linear(n_inputs, 64), nn.Tanh(), nn.Linear(64, 1))

    def forward(self, x):
        return Categorical(logits=self.actor(x)), self.critic(x).flatten()

    def configure_optimizers(self):
        return torch.optim.Adam(self.actor.parameters(), lr=self.lr)
