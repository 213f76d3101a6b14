# %% normalised before
def masked_log_probs(logits, mask):
    """
    The log-probabilities [N, A] of all actions, where only those of the mask are allowed
    """
    return logits.log_softmax(-1).masked_fill(~mask, -torch.inf)

# %% upside down
def masked_log_probs(logits, mask):
    """
    The log-probabilities [N, A] of all actions, where only those of the mask are allowed
    """
    return logits.masked_fill(mask, -torch.inf).log_softmax(-1)

# %% a small penalty
def masked_log_probs(logits, mask):
    """
    The log-probabilities [N, A] of all actions, where only those of the mask are allowed
    """
    return logits.masked_fill(~mask, -20).log_softmax(-1)
