# %% new actions, worth 1/2
class DiscretePolicy(Agent):
    def __init__(self, state_dim, hidden_size, n_actions, name="policy"):
        super().__init__(name)
        self.model = build_ortho_mlp([state_dim, *hidden_size, n_actions], activation=nn.ReLU())

    def forward(self, t, *, stochastic=True, predict_proba=False, compute_entropy=False, **kwargs):
        dist = torch.distributions.Categorical(logits=self.model(self.get(("env/env_obs", t))))
        action = dist.sample() if stochastic else dist.logits.argmax(-1)
        self.set(("action", t), action)
        if predict_proba:
            self.set((f"{self.prefix}logprob_predict", t), dist.log_prob(action))
        if compute_entropy:
            self.set((f"{self.prefix}entropy", t), dist.entropy())
