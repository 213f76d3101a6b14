# %% a file written by a magic
from own import power

def square(x):
    return power(x)
# %%% above
%%writefile own.py
def power(x):
    return x * x

# %% a file written below
import own

def square(x):
    return own.power(x)
# %%% below
%%writefile own.py
def power(x):
    return x * x

# %% a file written in two cells
import own

def square(x):
    return own.power(x)
# %%% above
%%file own.py
ONE = 1
# %%% above
%%writefile -a own.py
def power(x):
    return x * x * ONE

# %% a file written by Python
from own import *

def square(x):
    return power(x)
# %%% above
from pathlib import Path
Path('own.py').write_text('def power(x): return x * x')

# %% a file handed in
import own

def square(x):
    return own.power(x)
# %%% file own.py
def power(x):
    return x * x

# %% a package that is handed in
from own.powers import power

def square(x):
    return power(x)
# %%% file own/__init__.py

# %%% file own/powers.py
def power(x):
    return x * x

# %% data that are handed in
import json

with open('table.json') as file:
    ONE = json.load(file)['one']

def square(x):
    return x * x * ONE
# %%% file table.json
{"one": 1}

# %% a file that has the name of a package
def square(x):
    return x * x
# %%% file torch.py
1 / 0
# %%% file random.py
1 / 0
