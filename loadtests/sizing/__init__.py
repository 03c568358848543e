"""How tiers of a cache behave at scale: a model, and a simulation that checks it."""
