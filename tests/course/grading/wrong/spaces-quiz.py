# %% the first one is wrong, worth 4/5
def quiz_answers():
    return "acdba"

# %% all are wrong
def quiz_answers():
    return "aaaab"
