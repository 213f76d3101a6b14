# %% the first one is wrong, worth 2/3
def quiz_answers():
    return "abb"

# %% all are wrong
def quiz_answers():
    return "aaa"
