"""May this host be asked, for this, now? Rules, opt-outs and pace, for one worker or for many."""
