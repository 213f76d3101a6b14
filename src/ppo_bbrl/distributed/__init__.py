"""PPO in several processes, on one machine or many, started by torchrun.

Each process has its share of the environments, with random streams of its own. All have the same
weights: in each minibatch, the gradients are averaged over the transitions of all processes (as in
decentralised PPO, Wijmans et al. 2020). The first process evaluates, logs and saves.
"""

from ppo_bbrl.distributed.algorithm import DistributedPPO
from ppo_bbrl.distributed.processes import Processes
from ppo_bbrl.distributed.update import DistributedUpdate
from ppo_bbrl.distributed.watch import ProcessLostError

__all__ = ["DistributedPPO", "DistributedUpdate", "ProcessLostError", "Processes"]
