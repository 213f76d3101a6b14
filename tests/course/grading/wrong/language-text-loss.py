# %% the mask is ignored
def text_loss(log_prob, old_log_prob, advantage, written, clip_range):
    ratio = torch.exp(log_prob - old_log_prob)
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return -torch.min(ratio * advantage, clipped * advantage).mean()
