# %% the first one is wrong, worth 3/4
def quiz_answers():
    return "bbbc"

# %% all are wrong
def quiz_answers():
    return "cccb"
