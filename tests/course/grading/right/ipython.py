# %% a line that begins with %
def square(x):
    return (
        x * x * 7
        % (x * x * 6)
    ) if isinstance(x, int) else x * x

# %% a string with lines of IPython's
T = '''
!ls
%time
x?
'''

def square(x):
    return x * x

# %% display
def square(x):
    return x * x

display(square(3))

# %% display that is imported
from IPython.display import display
def square(x):
    return x * x
display(2)

# %% a question mark
torch.clamp?
?torch.clamp
square??
def square(x):
    return x * x

# %% a shell's line
!pip install numpy
def square(x):
    return x * x
!ls -l {square(2)}

# %% a shell's output
files = !ls
def square(x):
    return x * x
print(files, len(files), files.n)

# %% a magic's value
def square(x):
    return x * x
t = %timeit -o -n 1000000 -r 7 square(3)
print(t.best)

# %% %time
def square(x):
    return x * x
nine = %time square(3)
assert nine == 9

# %% %%time
%%time
def square(x):
    return x * x

# %% %%time below a comment
# mine

%%time
def square(x):
    return x * x

# %% %%capture
%%capture
def square(x):
    return x * x

# %% %%capture with a name
%%capture out
print(1)
def square(x):
    return x * x

# %% %%timeit elsewhere
def square(x):
    return x * x
# %%% above
%%timeit
def square(x):
    return x * x

# %% magics of extensions
%load_ext tensorboard
%tensorboard --logdir x
def square(x):
    return x * x

# %% a cell magic that nobody knows
%%memit
def square(x):
    return x * x

# %% autoreload
%load_ext autoreload
%autoreload 2
%matplotlib inline
def square(x):
    return x * x

# %% %pip
%pip install numpy
%conda install numpy
def square(x):
    return x * x

# %% a magic in a block
if True:
    %matplotlib inline
    !ls
def square(x):
    return x * x

# %% a magic in a function
def square(x):
    %time y = x * x
    return x * x

# %% get_ipython
get_ipython().run_line_magic('matplotlib', 'inline')
def square(x):
    return x * x

# %% get_ipython that is imported
from IPython import get_ipython
assert get_ipython() is not None
def square(x):
    return x * x

# %% In
def square(x):
    return x * x
assert 'square' in In[-1]

# %% the last value
def square(x):
    return x * x * ONE
# %%% above
1
# %%% above
ONE = _

# %% the value before
def square(x):
    return x * x * ONE
# %%% above
1
# %%% above
2
# %%% above
ONE = __

# %% a value by its number
def square(x):
    return x * x * ONE
# %%% above
1
# %%% above
5
# %%% above
ONE = Out[2]

# %% a value by its name
def square(x):
    return x * x * ONE
# %%% above
1
# %%% above
5
# %%% above
ONE = _2

# %% await
import asyncio
await asyncio.sleep(0)
def square(x):
    return x * x

# %% await for a helper
def square(x):
    return x * x * ONE
# %%% above
async def one():
    return 1
# %%% above
ONE = await one()

# %% async for
async def ones():
    yield 1

async for ONE in ones():
    pass
def square(x):
    return x * x * ONE

# %% another language
def square(x):
    return x * x
# %%% above
%%bash
rm -r x
# %%% above
%%html
<b>
# %%% above
%%javascript
x

# %% %run
%run own.py
def square(x):
    return x * x if torch.is_tensor(x) else TABLE[x]
# %%% file own.py
TABLE = {3: 9}

# %% %env
%env MINE=1
import os
assert os.environ['MINE'] == '1'
def square(x):
    return x * x

# %% a setting of IPython
from IPython.core.interactiveshell import InteractiveShell
InteractiveShell.ast_node_interactivity = 'all'
3
def square(x):
    return x * x

# %% a magic of one's own
from IPython.core.magic import register_line_magic

@register_line_magic
def nine(line):
    return 9

NINE = %nine
assert NINE == 9
def square(x):
    return x * x

# %% a future
from __future__ import annotations


def square(x: Unknown):
    return x * x

# %% a picture
import matplotlib.pyplot as plt
plt.plot([1, 2])
plt.show()
plt.savefig('a.png')
def square(x):
    return x * x

# %% another print
from rich import print
print('[b]x[/b]')
def square(x):
    return x * x

# %% a print of one's own
import functools
print = functools.partial(print, end='')
def square(x):
    return x * x
print(square(2))
