"""A playbook of one's own, as a file and in Python, beside those that ship: `python examples/own_playbook.py`."""

from pathlib import Path

from experiments.evaluate import compare
from experiments.tables import print_table
from policies.scripted.soc import Playbook, box
from soc_env.engine.tables import HUNTER

FILE = Path(__file__).with_suffix(".toml")


class ByHand(Playbook):
    """Rule-SOAR with a hunter that looks where risk is; what no file can say is said in Python."""

    def __init__(self, action_spaces, seed=0):
        super().__init__(action_spaces, seed)
        from policies.scripted import make_policy

        self.rule_soar = make_policy("rule-soar", "soc-v1", action_spaces, seed)

    def __call__(self, observations, decides):
        actions = self.rule_soar(observations, decides)
        risk = self.view(observations, HUNTER).zone("top_risk")  # (environments, zones)
        nothing, no_sweep = 0.0 * risk, 0.0 * risk[:, 0]
        return {**actions, HUNTER: box(risk, nothing + 0.6, nothing, no_sweep)}  # effort, depth, decoys, sweep


def main(num_episodes: int = 256) -> None:
    """Plays all of them on the same episodes of the test split."""
    policies = {FILE.name: FILE, "in Python": ByHand, "rule-soar": "rule-soar", "expert": "expert"}
    print_table(compare(policies, "soc-v1", num_episodes, split="test"))


if __name__ == "__main__":
    main()
