# %% the most probable character, worth 1/2
class Writer(Agent):
    def __init__(self, model):
        super().__init__("writer")
        self.model = model

    def evaluate(self, obs, action):
        return self.model(obs).log_softmax(-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def forward(self, t, **kwargs):
        obs = self.get(("env/env_obs", t))
        with torch.no_grad():
            action = self.model(obs).argmax(-1)
            self.set(("log_prob", t), self.evaluate(obs, action))
        self.set(("action", t), action)
