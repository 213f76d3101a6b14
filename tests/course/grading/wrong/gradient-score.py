# %% the sign
def score(logits, action):
    return logits.softmax(-1) - torch.nn.functional.one_hot(action, len(logits))
