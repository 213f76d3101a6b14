# %% dropout
def eval_fn(model, obs):
    with torch.no_grad():
        value, action, neg_log_prob, _ = model(torch.tensor(obs).float())
    return value, action, neg_log_prob

# %% gradient
def eval_fn(model, obs):
    model.eval()
    value, action, neg_log_prob, _ = model(torch.tensor(obs).float())
    return value, action, neg_log_prob
