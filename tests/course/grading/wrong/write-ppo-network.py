# %% an activation behind the last layer
def network(sizes, output_gain):
    layers = []
    for k in range(len(sizes) - 1):
        layer = nn.Linear(sizes[k], sizes[k + 1])
        last = k == len(sizes) - 2
        nn.init.orthogonal_(layer.weight, output_gain if last else 2**0.5)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers)
