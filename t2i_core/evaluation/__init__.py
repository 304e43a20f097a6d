"""Draw pictures with a trained system and say, with intervals, how well they obey their prompts."""
