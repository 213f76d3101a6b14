# %% the first one is wrong, worth 4/5
def quiz_answers():
    return "bbccd"

# %% all are wrong
def quiz_answers():
    return "baaaa"
