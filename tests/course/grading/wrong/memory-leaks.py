# %% everything that is remembered
def leaks(memory, timestep):
    return (memory != 0).any(-1)

# %% the sum
def leaks(memory, timestep):
    return (timestep == 0) & (memory.sum(-1) != 0)
