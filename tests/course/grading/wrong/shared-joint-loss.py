# %% entropy, worth 2/3
def joint_loss(
    returns,
    value_f,
    neg_log_probs,
    entropy,
    advantages,
    old_values,
    old_neg_log_probs,
    clip_range,
    ent_coef,
    vf_coef,
):
    ratio = torch.exp(old_neg_log_probs - neg_log_probs)
    clipped_ratio = torch.clamp(ratio, 1 - clip_range, 1 + clip_range)
    policy_loss = torch.max(-advantages * ratio, -advantages * clipped_ratio).mean()
    change = torch.clamp(value_f - old_values, -clip_range, clip_range)
    error = torch.max((value_f - returns) ** 2, (old_values + change - returns) ** 2)
    value_loss = 0.5 * error.mean()
    return policy_loss + ent_coef * entropy.mean() + vf_coef * value_loss, policy_loss, value_loss

# %% ratio, worth 1/3
def joint_loss(
    returns,
    value_f,
    neg_log_probs,
    entropy,
    advantages,
    old_values,
    old_neg_log_probs,
    clip_range,
    ent_coef,
    vf_coef,
):
    ratio = torch.exp(neg_log_probs - old_neg_log_probs)
    clipped_ratio = torch.clamp(ratio, 1 - clip_range, 1 + clip_range)
    policy_loss = torch.max(-advantages * ratio, -advantages * clipped_ratio).mean()
    change = torch.clamp(value_f - old_values, -clip_range, clip_range)
    error = torch.max((value_f - returns) ** 2, (old_values + change - returns) ** 2)
    value_loss = 0.5 * error.mean()
    return policy_loss - ent_coef * entropy.mean() + vf_coef * value_loss, policy_loss, value_loss
