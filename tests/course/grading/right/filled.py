# %% a table that is filled in a loop
# %%% above
TABLE = {}
for i in range(9):
    TABLE[i] = i * i

# %% a table that is filled in a while loop
# %%% above
TABLE = {}
i = 0
while i < 9:
    TABLE[i] = i * i
    i += 1

# %% a table that is filled by update
# %%% above
TABLE = {}
TABLE.update({i: i * i for i in range(9)})

# %% a table that is filled by |=
# %%% above
TABLE = {}
# %%% above
TABLE |= {3: 9}

# %% a table that is filled by a walrus
# %%% above
(TABLE := {}).update({3: 9})

# %% a table that is filled by a walrus in a list
# %%% above
[TABLE := {i: i * i} for i in range(4)]

# %% a table that is filled by setdefault
# %%% above
from collections import defaultdict
TABLE = {}
TABLE.setdefault(3, 9)

# %% a table that is filled by an own function
# %%% above
TABLE = {}
def fill():
    TABLE[3] = 9
# %%% above
fill()

# %% a table that is filled by an own function with an argument
# %%% above
TABLE = {}
def fill(t):
    t[3] = 9
# %%% above
fill(TABLE)

# %% a table that is filled by a global
# %%% above
def fill():
    global TABLE
    TABLE = {3: 9}

fill()

# %% a table that is filled by a decorator
# %%% above
TABLE = {}
def known(f):
    TABLE[3] = f()
    return f
# %%% above
@known
def nine():
    return 9

# %% a table that is filled by exec
# %%% above
exec('TABLE = {3: 9}')

# %% a table that is filled by globals
# %%% above
globals()['TABLE'] = {3: 9}

# %% a table that is filled by globals that are updated
# %%% above
globals().update(TABLE={3: 9})

# %% a table that is filled by setattr
# %%% above
import sys
setattr(sys.modules[__name__], 'TABLE', {3: 9})

# %% a table that is filled by push
# %%% above
get_ipython().push({'TABLE': {3: 9}})

# %% a table that is filled by del
# %%% above
class Nines(dict):
    def __missing__(self, key):
        return 9
# %%% above
TABLE = Nines({3: 8})
# %%% above
del TABLE[3]

# %% a table that is filled by map
# %%% above
TABLE = {}
list(map(lambda i: TABLE.update({i: i * i}), range(9)))

# %% a table that is filled by a with
# %%% above
import contextlib
with contextlib.suppress(KeyError):
    TABLE = {3: 9}

# %% a table that is filled by a try
# %%% above
try:
    TABLE
except NameError:
    TABLE = {3: 9}

# %% a table that is filled by a match
# %%% above
match {3: 9}:
    case {3: _, **rest} as TABLE:
        pass

# %% a table that is filled by unpacking
# %%% above
[first, *TABLES] = 0, {3: 9}
# %%% above
(TABLE,) = TABLES

# %% a table that is filled in a function's closure
# %%% above
def make():
    n = 0
    def count():
        nonlocal n
        n += 3
        return n
    return count
count = make()
TABLE = {count(): 9}

# %% a table that is filled in another cell
# %%% above
TABLE = {}
# %%% above
TABLE[3] = 0
# %%% above
TABLE[3] = 9

# %% a table that is filled by a class
# %%% above
class Tables:
    nine = {3: 9}

TABLE = Tables().nine

# %% a table that is filled after an error
# %%% above
1 / 0
TABLE = {3: 9}

# %% a table that is filled by a cell that is timed
# %%% above
%%time
TABLE = {}
TABLE[3] = 9

# %% a table that is filled by a cell whose output is kept
# %%% above
%%capture kept
TABLE = {}
TABLE[3] = 9

# %% a table that is filled with IPython's lines
# %%% above
torch.where?
files = !ls
TABLE = {3: 9}

# %% a table that is filled by a line that is timed
# %%% above
%time TABLE = {3: 9}
