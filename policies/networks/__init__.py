"""The networks of tiers: blocks, and bodies that read observations by tokens."""
