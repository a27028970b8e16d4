"""Columns of a batch beside RLlib's own."""

# What a central critic reads beside its own agent's columns.
JOINT_OBS, JOINT_NEXT_OBS = "joint_obs", "joint_next_obs"  # (B, sum of observation sizes)
# (B, sum of the other agents' flat action sizes)
OTHER_ACTIONS, OTHER_NEXT_ACTIONS = "other_actions", "other_next_actions"
JOINT_COLUMNS = (JOINT_OBS, JOINT_NEXT_OBS, OTHER_ACTIONS, OTHER_NEXT_ACTIONS)
