# %% an attribute
def square(x):
    return x**power.exponent
# %%% above
def power(x): pass
# %%% above
power.exponent = 2

# %% an attribute that changes
def square(x):
    return x * x * power.one
# %%% above
class Power:
    one = 0

power = Power()
# %%% above
power.one += 1

# %% a method that is attached
def square(x):
    return Power().of(x)
# %%% above
class Power:
    pass
# %%% above
def of(self, x):
    return x * x

Power.of = of

# %% a star import
def square(x):
    return mul(x, x)
# %%% above
from operator import *

# %% a star import below
def square(x):
    return mul(x, x)
# %%% below
from operator import *

# %% a star import of torch
def square(x):
    return mul(x, x) if is_tensor(x) else x * x
# %%% above
from torch import *

# %% exec
def square(x):
    return power(x)
# %%% above
exec('def power(x): return x * x')

# %% partial
from functools import partial

def power(n, x):
    return x**n

square = partial(power, 2)

# %% a lambda
square = lambda x: power(x)
# %%% above
power = lambda x: x * x

# %% a class with __call__
class Square:
    def __call__(self, x):
        return x * x

square = Square()

# %% a data class
def square(x):
    return Pair(x, x).product()
# %%% above
from dataclasses import dataclass

@dataclass
class Pair:
    a: object
    b: object
    def product(self):
        return self.a * self.b

# %% a helper below that needs another
def square(x):
    return power(x)
# %%% below
power = lambda x: x * ONE * x
# %%% below
ONE = 1

# %% a list that needs what is below
def square(x):
    return x * x * ONES[0]
# %%% above
ONES = [ONE]
# %%% below
ONE = 1

# %% an attribute of the solution
def square(x):
    return x * x * square.one
# %%% below
square.one = 1

# %% a shadowed builtin
def square(x):
    return sum(x, x)
# %%% above
def sum(a, b):
    return a * b

# %% what the notebook trained
assert trained == 3
def square(x):
    return x * x
