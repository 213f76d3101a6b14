# %% clipped too late
def train_fn(
    model, optimizer, args, obs, returns, old_actions, old_values, old_neg_log_probs
):
    with torch.no_grad():
        advantages = returns - old_values
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    model.train()
    value_f, _, neg_log_probs, entropy = model(obs, action=old_actions)
    losses = model.loss(
        returns, value_f, neg_log_probs, entropy, advantages, old_values, old_neg_log_probs,
        args.clip_range, args.ent_coef, args.vf_coef,
    )
    optimizer.zero_grad()
    losses[0].backward()
    optimizer.step()
    torch.nn.utils.clip_grad_norm_(model.parameters(), args.max_grad_norm)
    return [loss.item() for loss in losses]

# %% parts clipped apart
def train_fn(
    model, optimizer, args, obs, returns, old_actions, old_values, old_neg_log_probs
):
    with torch.no_grad():
        advantages = returns - old_values
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    model.train()
    value_f, _, neg_log_probs, entropy = model(obs, action=old_actions)
    losses = model.loss(
        returns, value_f, neg_log_probs, entropy, advantages, old_values, old_neg_log_probs,
        args.clip_range, args.ent_coef, args.vf_coef,
    )
    optimizer.zero_grad()
    losses[0].backward()
    for part in (model.latent, model.policy_head, model.value_head):
        torch.nn.utils.clip_grad_norm_(part.parameters(), args.max_grad_norm)
    optimizer.step()
    return [loss.item() for loss in losses]
