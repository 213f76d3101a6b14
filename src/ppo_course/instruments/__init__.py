"""Instruments that look into one iteration of PPO while a student's code runs it."""
