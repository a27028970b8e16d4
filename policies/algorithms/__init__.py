"""One file an algorithm: its settings, the network that acts, and what it can do. None knows a learning library.

`policies.learners` has a file of the same name for each: RLlib's module and learner on the same network.
"""

from policies.algorithms.dqn import DQN
from policies.algorithms.maddpg import MADDPG
from policies.algorithms.ppo import PPO
from policies.algorithms.sac import SAC
from policies.algorithms.settings import Algorithm

ALGORITHMS: dict[str, Algorithm] = {"PPO": PPO, "SAC": SAC, "DQN": DQN, "MADDPG": MADDPG}
"""By the name that a tier's setting "algorithm" has."""
