"""Faster engines for the update, which compute the same weights."""
