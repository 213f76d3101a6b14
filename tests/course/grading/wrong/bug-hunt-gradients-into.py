# %% every parameter
def gradients_into(loss, module):
    return [name for name, parameter in module.named_parameters() if parameter.requires_grad]


# %% backward
def gradients_into(loss, module):
    loss.backward(retain_graph=True)
    return [
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and parameter.grad.any()
    ]


# %% zeros
def gradients_into(loss, module):
    names, parameters = zip(*module.named_parameters())
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return [name for name, gradient in zip(names, gradients) if gradient is not None]
