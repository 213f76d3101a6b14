# %% two confused, worth 5/7
def culprits():
    return {
        "A": "innocent",
        "B": "wrong action",
        "C": "critic moves the actor",
        "D": "drawn with replacement",
        "E": "stale observation",
        "F": "leak across truncation",
        "G": "sign of the loss",
    }


# %% everybody innocent
def culprits():
    return {name: "innocent" for name in "ABCDEFG"}
