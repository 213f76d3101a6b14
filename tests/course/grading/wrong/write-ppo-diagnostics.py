# %% unexplained, and it still learns, worth 3/4
def diagnostics(policy, critic, batch, cfg):
    with torch.no_grad():
        log_prob, entropy = policy.evaluate(batch["obs"], batch["action"])
        error = batch["target"] - critic(batch["obs"])
    r = (log_prob - batch["log_prob"]).exp()
    return {
        "entropy": entropy.mean().item(),
        "kl": (r - 1 - r.log()).mean().item(),
        "clipped": ((r - 1).abs() > cfg.algorithm.clip_range).float().mean().item(),
        "explained_variance": (error.var() / batch["target"].var()).item(),
    }
