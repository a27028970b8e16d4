"""`hmarl-soc tune`: trains many times with settings from a search space, and says which were best.

    <out>/tune.json          what was asked for, the space, and every trial's first settings
    <out>/trials.json        every trial's settings, score, steps and status; trials.csv and trials.md are its table
    <out>/trials/000/        the run folder of trial 0, as `hmarl-soc train` leaves one: a checkpoint to evaluate

===============  ======================================================================================================
space            distributions in a file of settings: how they are read, checked and drawn from
records          what is written about trials, and how it is read by a search that goes on
trial            one trial: a training run that reports its validation to Tune
schedule         which trials are stopped early (ASHA), or copied and changed (PBT)
search           the command: checks, Ray Tune over all trials, the table
===============  ======================================================================================================

Ray Tune starts the trials, waits for resources and asks the scheduler. What a search goes on from are the files above,
plain data and our own checkpoints; what Tune writes of itself are pickles, which are never read and are removed.
"""
