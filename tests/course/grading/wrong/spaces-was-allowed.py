# %% one component is enough
def was_allowed(workspace, sizes):
    """
    Whether all components of the actions in a workspace were allowed, [T, B] bool
    """
    mask, action = workspace["env/action_mask"], workspace["action"]
    parts = []
    for i, part in enumerate(mask.split(sizes, -1)):
        parts.append(part.gather(-1, action[..., i : i + 1]))
    return torch.cat(parts, -1).any(-1)

# %% the mask of the next row
def was_allowed(workspace, sizes):
    """
    Whether all components of the actions in a workspace were allowed, [T, B] bool
    """
    mask, action = workspace["env/action_mask"].roll(-1, 0), workspace["action"]
    parts = []
    for i, part in enumerate(mask.split(sizes, -1)):
        parts.append(part.gather(-1, action[..., i : i + 1]))
    return torch.cat(parts, -1).all(-1)
