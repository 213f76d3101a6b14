# %% never reset
def unroll(cell, features, memory, begins):
    memories = []
    for row in features:
        memory = cell(row, memory)
        memories.append(memory)
    return torch.stack(memories)

# %% the gradient is cut
def unroll(cell, features, memory, begins):
    memories = []
    for t in range(len(features)):
        memory = cell(features[t], memory.detach() * ~begins[t].unsqueeze(-1))
        memories.append(memory)
    return torch.stack(memories)
