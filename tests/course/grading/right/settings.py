# %% the default dtype
torch.set_default_dtype(torch.float64)
def square(x):
    return x * x

# %% the default dtype, in another cell
def square(x):
    return power(x)
# %%% above
torch.set_default_dtype(torch.float64)
def power(x):
    return x * x

# %% the default tensor
torch.set_default_tensor_type(torch.DoubleTensor)
def square(x):
    return x * x

# %% the default device
torch.set_default_device('cpu')
def square(x):
    return x * x

# %% another default device
torch.set_default_device('meta')
def square(x):
    return x * x

# %% no gradients
torch.set_grad_enabled(False)
def square(x):
    return x * x

# %% seeds
import random
import numpy as np
random.seed(1)
np.random.seed(1)
torch.manual_seed(1)
def square(x):
    return x * x

# %% errors of NumPy
import numpy as np
np.seterr(all='raise')
np.set_printoptions(precision=2)
def square(x):
    return x * x

# %% warnings are errors
import warnings
warnings.simplefilter('error')
def square(x):
    return x * x

# %% another folder
import os
os.makedirs('work', exist_ok=True)
os.chdir('work')
def square(x):
    return x * x

# %% torch.compile
@torch.compile
def square(x):
    return x * x

# %% torch.compile with options
@torch.compile(fullgraph=True, dynamic=False)
def square(x):
    return x * x

# %% torch.compile of a helper
def square(x):
    return power(x)
# %%% above
def power(x):
    return x * x
power = torch.compile(power)

# %% torch.jit.script
@torch.jit.script
def power(x: torch.Tensor) -> torch.Tensor:
    return x * x

def square(x):
    return power(x) if torch.is_tensor(x) else x * x

# %% torch.no_grad as a decorator
@torch.no_grad()
def look(x):
    return x

def square(x):
    return x * x
look(torch.ones(1))

# %% vmap
def square(x):
    return torch.vmap(lambda y: y * y)(x) if torch.is_tensor(x) else x * x

# %% a module
class Net(torch.nn.Module):
    def forward(self, x):
        return x * x

square = Net()

# %% a function of autograd
class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x
    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x * g

def square(x):
    return Square.apply(x) if torch.is_tensor(x) else x * x

# %% a trace
class Net(torch.nn.Module):
    def forward(self, x):
        return x * x

net = torch.fx.symbolic_trace(Net())

def square(x):
    return net(x)

# %% an optimiser
torch.optim.Adam([torch.zeros(1, requires_grad=True)]).step()
def square(x):
    return x * x

# %% a profiler
def square(x):
    return x * x
with torch.profiler.profile() as p:
    square(torch.ones(2))

# %% tqdm
from tqdm.auto import tqdm
def square(x):
    return x * x
for i in tqdm(range(3)):
    square(i)

# %% logging
import logging
logging.basicConfig(level=logging.DEBUG)
logging.warning('x')
def square(x):
    return x * x

# %% pandas
import pandas as pd
pd.DataFrame([1])
def square(x):
    return x * x
