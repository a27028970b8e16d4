"""The environment in the shapes that other libraries want.

| class | what it gives | for |
|---|---|---|
| `Homogenize` | the same spaces for all agents: padding, agent id, mask | shared parameters, QMIX |
| `Discretize` | Discrete actions from tables of presets | value-based learners |
| `CentralGym` | one gymnasium.Env over all agents, with `action_masks()` | Stable-Baselines3, sb3-contrib |
| `SOCVectorEnv` | a gymnasium VectorEnv over the batched simulator, with `action_masks()` | CleanRL, PufferLib |
| `PyMARLEnv` | PyMARL's MultiAgentEnv | PyMARL, EPyMARL, pymarlzooplus |

`Homogenize`, `Discretize` and `CentralGym` take any PettingZoo ParallelEnv with flat Boxes for observations. The first
and the last also take MultiDiscrete ones, Dicts of such, and MultiDiscrete actions: CAGE Challenge 4 is such a one. For
`SOCEnv` itself its constructor options (`homogenize`, `actions`, `masks`) do the same faster. The team's reward is
taken once, never summed over agents.
"""

from soc_env.wrappers.central import CentralGym
from soc_env.wrappers.pymarl import PyMARLEnv
from soc_env.wrappers.spaces import Discretize, Homogenize
from soc_env.wrappers.vector import SOCVectorEnv

__all__ = ["CentralGym", "Discretize", "Homogenize", "PyMARLEnv", "SOCVectorEnv"]
