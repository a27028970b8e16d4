"""How tiers act: the columnar env runner and the batched environments that it steps."""
