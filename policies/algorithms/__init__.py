"""One file an algorithm: settings, module, learner and what it can do."""
