"""Runs: folders, leaderboards, tracking."""
