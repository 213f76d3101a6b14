# %% objective instead of loss
class ClippedPPO(PPO):
    def training_step(self, batch, batch_idx):
        dist, value = self(batch.observations)
        ratio = torch.exp(dist.log_prob(batch.actions) - batch.old_log_probs)
        clipped_ratio = torch.clamp(ratio, 1 - self.clip_range, 1 + self.clip_range)
        advantage = normalise(batch.advantages)
        objective = torch.min(ratio * advantage, clipped_ratio * advantage).mean()
        value_loss = ((value - batch.returns) ** 2).mean()
        return objective + self.value_coef * value_loss - self.entropy_coef * dist.entropy().mean()


# %% inherited
class ClippedPPO(PPO):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx)
