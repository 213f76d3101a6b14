# %% the mask is lost, worth 2/3
class WarehousePolicy(Policy):
    takes_mask = True

    def __init__(self, hidden_size, name="policy"):
        super().__init__(name)
        self.model = build_ortho_mlp(
            [8 + 5 + 5 + 5, *hidden_size, 4 + 10], activation=nn.Tanh(), output_gain=0.01
        )

    def features(self, obs):
        """[…, 23] floats of the parts of an observation"""
        kind = one_hot(obs["kind"], 8)
        parcel = one_hot(obs["parcel"], 5)
        robot = one_hot(obs["robot"], 5).flatten(-2)
        return torch.cat([kind, parcel, robot], -1).float()

    def dist(self, obs, mask=None):
        """The distribution of the actions: batch shape […], event shape [2]"""
        logits = self.model(self.features(obs))
        if mask is not None:
            logits.masked_fill(~mask, -torch.inf)
        return MultiCategorical(logits, [4, 10])

# %% logits of zero, worth 2/3
class WarehousePolicy(Policy):
    takes_mask = True

    def __init__(self, hidden_size, name="policy"):
        super().__init__(name)
        self.model = build_ortho_mlp(
            [8 + 5 + 5 + 5, *hidden_size, 4 + 10], activation=nn.Tanh(), output_gain=0.01
        )

    def features(self, obs):
        """[…, 23] floats of the parts of an observation"""
        kind = one_hot(obs["kind"], 8)
        parcel = one_hot(obs["parcel"], 5)
        robot = one_hot(obs["robot"], 5).flatten(-2)
        return torch.cat([kind, parcel, robot], -1).float()

    def dist(self, obs, mask=None):
        """The distribution of the actions: batch shape […], event shape [2]"""
        logits = self.model(self.features(obs))
        if mask is not None:
            logits = logits * mask
        return MultiCategorical(logits, [4, 10])

# %% numbers as they are
class WarehousePolicy(Policy):
    takes_mask = True

    def __init__(self, hidden_size, name="policy"):
        super().__init__(name)
        self.model = build_ortho_mlp(
            [8 + 5 + 5 + 5, *hidden_size, 4 + 10], activation=nn.Tanh(), output_gain=0.01
        )

    def features(self, obs):
        """[…, 23] floats of the parts of an observation"""
        kind = one_hot(obs["kind"], 8)
        parcel = one_hot(obs["parcel"], 5)
        robot = one_hot(obs["robot"], 5).flatten(-2)
        return torch.cat([kind * 0, parcel, robot], -1).float()

    def dist(self, obs, mask=None):
        """The distribution of the actions: batch shape […], event shape [2]"""
        logits = self.model(self.features(obs))
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf)
        return MultiCategorical(logits, [4, 10])
