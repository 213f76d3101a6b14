# %% wrong side
class PoleAgent(Agent):
    def __init__(self, gain):
        super().__init__()
        self.gain = gain

    def forward(self, t, **kwargs):
        observation = self.get(("env/env_obs", t))
        falls_to_the_left = observation[:, 2] + self.gain * observation[:, 3] < 0
        self.set(("action", t), falls_to_the_left.long())


# %% row 0
class PoleAgent(Agent):
    def __init__(self, gain):
        super().__init__()
        self.gain = gain

    def forward(self, t, **kwargs):
        observation = self.get(("env/env_obs", 0))
        falls_to_the_right = observation[:, 2] + self.gain * observation[:, 3] > 0
        self.set(("action", t), falls_to_the_right.long())
