"""The job that runs every night: what is new is learned from, and what is better takes the champion's place."""
