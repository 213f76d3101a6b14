# %% inverted
def reset_memory(memory, begins):
    return memory.masked_fill(~begins.unsqueeze(-1), 0.0)

# %% all at once
def reset_memory(memory, begins):
    return torch.zeros_like(memory) if begins.any() else memory
