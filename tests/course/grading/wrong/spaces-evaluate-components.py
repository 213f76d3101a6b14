# %% the last component alone, worth 1/2
def evaluate_components(logits, sizes, action):
    """
    The log-probabilities [N] of actions [N, k], and the entropies [N] of the policy,
    from the logits of all k components side by side [N, sum(sizes)]
    """
    log_prob, entropy = 0, 0
    for i, part in enumerate(logits.split(sizes, -1)):
        dist = Categorical(logits=part)
        log_prob = dist.log_prob(action[:, i])
        entropy = entropy + dist.entropy()
    return log_prob, entropy

# %% the mean of the entropies, worth 1/2
def evaluate_components(logits, sizes, action):
    """
    The log-probabilities [N] of actions [N, k], and the entropies [N] of the policy,
    from the logits of all k components side by side [N, sum(sizes)]
    """
    log_prob, entropy = 0, 0
    for i, part in enumerate(logits.split(sizes, -1)):
        dist = Categorical(logits=part)
        log_prob = log_prob + dist.log_prob(action[:, i])
        entropy = entropy + dist.entropy()
    return log_prob, entropy / len(sizes)

# %% without a gradient
def evaluate_components(logits, sizes, action):
    """
    The log-probabilities [N] of actions [N, k], and the entropies [N] of the policy,
    from the logits of all k components side by side [N, sum(sizes)]
    """
    log_prob, entropy = 0, 0
    for i, part in enumerate(logits.split(sizes, -1)):
        dist = Categorical(logits=part.detach())
        log_prob = log_prob + dist.log_prob(action[:, i])
        entropy = entropy + dist.entropy()
    return log_prob, entropy
