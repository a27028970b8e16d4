"""The algorithm in which every tier learns with its own: `HMARL`, `HMARLConfig`."""
