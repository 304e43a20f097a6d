"""What judges pictures, and what proves that it may: the checker, CLIP, neighbours, intervals."""
