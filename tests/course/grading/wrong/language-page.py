# %% an ended text goes on, worth 1/2
class Page(Agent):
    def __init__(self, prompts, end):
        super().__init__("page")
        self.prompts, self.end = prompts, end

    def forward(self, t, **kwargs):
        if t == 0:
            window, done = self.prompts, torch.zeros(len(self.prompts), dtype=torch.bool)
        else:
            action = self.get(("action", t - 1))
            before = self.get(("env/env_obs", t - 1))
            window = torch.cat([before[:, 1:], action[:, None]], dim=1)
            done = action == self.end
        self.set(("env/env_obs", t), window)
        self.set(("env/done", t), done)
