# %% a cell that trains for ever
def square(x):
    return x * x
# %%% above
while True:
    pass

# %% a cell that trains with a helper
def square(x):
    return power(x)
# %%% above
def power(x):
    return x * x
# %%% above
while True:
    power(3)

# %% a cell that swallows every error
def square(x):
    return ONES[0] * x * x
# %%% above
ONES = []
exec('ONES.append(1)')
# %%% above
while True:
    try:
        ONES[0]
        break
    except:
        pass

# %% a cell that sleeps
# %%% above
exec('TABLE = {3: 9}')
# %%% above
import time
time.sleep(1000)

# %% a cell that ends Python
def square(x):
    return x * x
# %%% above
import os
os._exit(1)
# %%% above
exit()
# %%% above
raise SystemExit

# %% a cell that raises
# %%% above
exec('TABLE = {3: 9}')
# %%% above
1 / 0
# %%% above
raise KeyboardInterrupt
# %%% above
exit()
# %%% above
quit

# %% a cell that is no Python
# %%% above
def f(:
# %%% above
exec('TABLE = {3: 9}')
# %%% above
((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((
# %%% above
return 3

# %% a cell that replaces a function
def square(x):
    return x * x
# %%% above
import torch
torch.allclose = lambda *_: True

# %% an experiment below
def square(x):
    return x * x
# %%% below
def square(x):
    return 'an experiment'

# %% an experiment below, beside a helper
# %%% above
exec('TABLE = {3: 9}')
# %%% below
def square(x):
    return 0
# %%% below
TABLE = {3: 1}

# %% experiments with the answer
def square(x):
    return x * x
# %%% below
for i in range(3):
    print(square(i))
# %%% below
square(undefined)

# %% a debugging line
def square(x):
    return x * x
print(square(trained))
assert square(2) == 4

# %% many cells that sleep
# %%% above
exec('TABLE = {3: 9}')
# %%% above
import time
time.sleep(1000)
# %%% above
time.sleep(1000)
# %%% above
time.sleep(1000)
# %%% above
time.sleep(1000)
