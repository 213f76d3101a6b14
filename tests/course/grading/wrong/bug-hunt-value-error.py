# %% time limit
def value_error(probe, values, discount_factor):
    true_values = {
        "ConstantReward": 1,
        "Discounting": discount_factor,
        "TruncatedOnly": (1 - discount_factor**8) / (1 - discount_factor),
    }
    return values.mean().item() - true_values[probe]


# %% sign
def value_error(probe, values, discount_factor):
    true_values = {
        "ConstantReward": 1,
        "Discounting": discount_factor,
        "TruncatedOnly": 1 / (1 - discount_factor),
    }
    return true_values[probe] - values.mean().item()


# %% not discounted
def value_error(probe, values, discount_factor):
    true_value = 1 / (1 - discount_factor) if probe == "TruncatedOnly" else 1
    return values.mean().item() - true_value
