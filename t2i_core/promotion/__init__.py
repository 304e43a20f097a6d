"""Which run or system is in use: the champion and the one before it, who made it so, and why."""
