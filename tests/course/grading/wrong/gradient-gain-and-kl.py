# %% the divergence is turned around, worth 1/2
def gain_and_kl(old, new, visits, advantage):
    gain = (visits * (new * advantage).sum(-1)).sum()
    return gain, (visits * (new * (new / old).log()).sum(-1)).sum()
