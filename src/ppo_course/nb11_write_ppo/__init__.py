"""The checks of notebook 11: a PPO, written from an empty `EpisodicAlgo`."""
