"""Pictures changed by a finished run: parts drawn anew, more around them, another picture from the same start."""
